"""Maintenance of servers, with who, since and why, in place of `enabled`; and how gently each is asked."""

import json
import time

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

Json = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.add_column("servers", sa.Column("maintenance", Json))
    op.add_column("servers", sa.Column("gentleness", sa.Text(), server_default="usual", nullable=False))
    servers = sa.table(
        "servers", sa.column("id", sa.Text), sa.column("enabled", sa.Boolean), sa.column("maintenance", Json)
    )
    since = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
    resting = {"by": "", "since": since, "why": "It was disabled before.", "until": None}
    op.execute(servers.update().where(servers.c.enabled.is_(sa.false())).values(maintenance=resting))
    _forget_health_of_disabled()
    op.drop_column("servers", "enabled")


def _forget_health_of_disabled() -> None:
    """Its state `disabled` is no word any more; the next sweep writes the row anew."""
    connection = op.get_bind()
    for server, payload in connection.execute(sa.text("SELECT server, payload FROM health")).all():
        health = json.loads(payload) if isinstance(payload, str) else payload
        if health.get("state") == "disabled":
            connection.execute(sa.text("DELETE FROM health WHERE server = :server"), {"server": server})
