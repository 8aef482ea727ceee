"""Services are tested over everything that stands below them."""

from tests.databases import clock, cluster, database, database_url, engine_name, sqlite_template, vault  # noqa: F401
from tests.installed import comserv, pve, shared  # noqa: F401
