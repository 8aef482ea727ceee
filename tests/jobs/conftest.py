"""Every test here that takes `database` runs on SQLite and on PostgreSQL."""

from tests.databases import (  # noqa: F401
    clock,
    cluster,
    database,
    database_url,
    empty_database_url,
    engine_name,
    sqlite_template,
    vault,
)
from tests.installed import comserv, pve, shared  # noqa: F401
