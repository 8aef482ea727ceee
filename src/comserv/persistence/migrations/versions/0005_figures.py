"""The figures of a picture apart from what seldom changes of it. A row that has none still has them in its payload."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("pictures", sa.Column("figures", sa.LargeBinary(), nullable=True))
    if op.get_bind().dialect.name == "postgresql":  # written every 10 s, and hardly to be compressed
        op.execute("ALTER TABLE pictures ALTER COLUMN figures SET STORAGE EXTERNAL")
