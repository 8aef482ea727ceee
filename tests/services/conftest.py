"""Services are tested over everything that stands below them."""

from tests.installed import comserv, pve, shared  # noqa: F401
