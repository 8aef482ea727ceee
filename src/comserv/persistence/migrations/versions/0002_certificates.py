"""The certificates on which a server's addresses were trusted, to be shown beside a changed one."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    with op.batch_alter_table("servers") as table:
        table.add_column(sa.Column("certificates", json, nullable=True))
