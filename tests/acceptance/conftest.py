"""Acceptance tests run real processes; those that need PostgreSQL share one throw-away cluster."""

from tests.databases import cluster  # noqa: F401
