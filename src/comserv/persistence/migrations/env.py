"""What alembic runs: migrations on the connection that `schema.migrate` opened, within its transaction."""

from alembic import context

from comserv.persistence.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    transactional_ddl=True,
)
context.run_migrations()
