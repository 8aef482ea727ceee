"""All tables, as SQLAlchemy Core knows them; `migrations/` brings a database to this shape, and a test holds them equal.

Times are whole microseconds since 1970 in UTC, so that both engines compare and sort them alike.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Time(TypeDecorator[datetime]):
    """Aware datetime ↔ microseconds since 1970 in a BIGINT. A naive datetime is refused."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else (value - EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return None if value is None else EPOCH + timedelta(microseconds=int(value))


def storable(text: str) -> str:
    """Texts of people and servers may hold what PostgreSQL cannot store: NUL and half a surrogate pair become �."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


class Words(TypeDecorator[str]):
    """Text from anywhere, made storable."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else storable(value)


def encode_json(value: Any) -> str:
    """Plain values, and frozen domain values as objects, for JSON columns of both engines."""
    try:
        encoded = msgspec.json.encode(value).decode()
        if "\\u0000" not in encoded:
            return encoded
    except (UnicodeEncodeError, msgspec.EncodeError, ValueError):
        pass
    return msgspec.json.encode(_storable_json(msgspec.to_builtins(value))).decode()


def _storable_json(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {storable(str(key)): _storable_json(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_storable_json(item) for item in value]
    return value


Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
Counted = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _text(name: str, **options: Any) -> Column[Any]:
    return Column(name, Words, nullable=False, server_default="", **options)


def _whole(name: str, default: int = 0) -> Column[Any]:
    return Column(name, BigInteger, nullable=False, server_default=str(default))


def _flag(name: str, default: bool = False) -> Column[Any]:
    return Column(name, Boolean, nullable=False, server_default=text("true" if default else "false"))


def _job(*, nullable: bool = False, primary_key: bool = False) -> Column[Any]:
    link = ForeignKey("jobs.id", ondelete="CASCADE")
    return Column("job", Text, link, nullable=nullable, primary_key=primary_key)


def _server() -> Column[Any]:
    return Column("server", Text, ForeignKey("servers.id", ondelete="CASCADE"), primary_key=True)


meta = Table("meta", metadata, Column("name", Text, primary_key=True), _text("value"))

servers = Table(
    "servers",
    metadata,
    Column("id", Text, primary_key=True),
    _text("name"),
    Column("addresses", Json, nullable=False),
    _text("token_id"),
    Column("token_secret", LargeBinary, nullable=False),
    Column("tls", Json, nullable=False),
    _text("default_node"),
    Column("created", Time, nullable=False),
    _whole("revision", 1),
    Column("last_test", Json),
    Column("last_test_at", Time),
    Column("certificates", Json),
    Column("maintenance", Json),
    Column("gentleness", Text, nullable=False, server_default="usual"),
)

pictures = Table(
    "pictures",
    metadata,
    _server(),
    _whole("revision"),
    Column("as_of", Time),
    Column("digest", LargeBinary, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("figures", LargeBinary),
)

health = Table(
    "health", metadata, _server(), Column("payload", Json, nullable=False), Column("at", Time, nullable=False)
)

rights = Table(
    "rights",
    metadata,
    _server(),
    Column("as_of", Time, nullable=False),
    Column("payload", LargeBinary, nullable=False),
)

addresses = Table(
    "addresses",
    metadata,
    _server(),
    Column("vmid", BigInteger, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("address", Words, primary_key=True),
    Column("as_of", Time, nullable=False),
    Index("ix_addresses_address", "address"),
)

made_guests = Table(
    "made_guests",
    metadata,
    _server(),
    Column("vmid", BigInteger, primary_key=True),
    _text("job"),
    _text("upid"),
    _text("smbios_uuid"),
    Column("at", Time, nullable=False),
)

overlays = Table(
    "overlays",
    metadata,
    _server(),
    Column("vmid", BigInteger, primary_key=True),
    Column("fields", Json, nullable=False),
    _text("job"),
    Column("at", Time, nullable=False),
)

OPEN = text("state IN ('queued', 'running')")

jobs = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    _text("kind"),
    _text("state"),
    _text("title"),
    _text("server"),
    Column("vmid", BigInteger),
    _text("node"),
    _text("requested_by"),
    _text("via"),
    Column("created", Time, nullable=False),
    Column("queued", Time, nullable=False),
    Column("started", Time),
    Column("ended", Time),
    _text("waiting_reason"),
    Column("waiting_since", Time),
    Column("waiting_next_try", Time),
    _text("waiting_text"),
    Column("held_since", Time),
    _whole("attempt", 1),
    _flag("cancel_requested"),
    _text("running_task"),
    Column("request", Json, nullable=False),
    Column("result", Json, nullable=False),
    Column("warnings", Json, nullable=False),
    Column("error", Json),
    _whole("revision", 1),
    Index("ix_jobs_open", "server", "vmid", postgresql_where=OPEN, sqlite_where=OPEN),
    Index("ix_jobs_state", "state", "id"),
    Index("ix_jobs_guest", "server", "vmid", "id"),
    Index("ix_jobs_server", "server", "id"),
    Index("ix_jobs_requested_by", "requested_by", "id"),
    Index("ix_jobs_kind", "kind", "id"),
)

job_steps = Table(
    "job_steps",
    metadata,
    _job(primary_key=True),
    Column("position", Integer, primary_key=True),
    _text("name"),
    _text("state"),
    _text("text"),
    Column("started", Time),
    Column("ended", Time),
    _text("upid"),
    Column("percent", Float),
    Column("log", Json, nullable=False),
    Column("intent", Json, nullable=False),
    Column("result", Json, nullable=False),
    _text("note"),
    UniqueConstraint("job", "name"),
)

job_calls = Table(
    "job_calls",
    metadata,
    Column("id", Counted, primary_key=True, autoincrement=True),
    _job(),
    Column("at", Time, nullable=False),
    _text("method"),
    _text("path"),
    Column("parameters", Json, nullable=False),
    Column("status", Integer),
    Column("ms", Float, nullable=False),
    _text("upid"),
    _text("reply"),
    Index("ix_job_calls_job", "job", "id"),
)

job_secrets = Table(
    "job_secrets",
    metadata,
    _job(primary_key=True),
    Column("name", Text, primary_key=True),
    _text("step"),
    Column("value", LargeBinary),
)

reservations = Table(
    "reservations",
    metadata,
    _server(),
    Column("vmid", BigInteger, primary_key=True),
    _job(),
    Column("hostname", Words),
    _text("node"),
    _text("storage"),
    _whole("memory_mb"),
    Column("disk_gb", Float, nullable=False),
    Column("created", Time, nullable=False),
    UniqueConstraint("server", "hostname"),
    Index("ix_reservations_job", "job"),
)

reserved_addresses = Table(
    "reserved_addresses",
    metadata,
    Column("address", Words, primary_key=True),
    _job(),
    Index("ix_reserved_addresses_job", "job"),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("person", Words, primary_key=True),
    Column("key", Words, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column(
        "job",
        Text,
        ForeignKey("jobs.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED"),
        nullable=False,
        index=True,
    ),
)

people = Table(
    "people",
    metadata,
    Column("id", Counted, primary_key=True, autoincrement=True),
    _text("name"),
    Column("name_key", Words, nullable=False, unique=True),
    _text("role"),
    _flag("disabled"),
    Column("created", Time, nullable=False),
    Column("last_seen", Time),
    _text("theme"),
    _text("password_hash"),
)


def _person() -> Column[Any]:
    return Column("person", Counted, ForeignKey("people.id", ondelete="CASCADE"), nullable=False, index=True)


sessions = Table(
    "sessions",
    metadata,
    Column("id", Counted, primary_key=True, autoincrement=True),
    Column("token_hash", LargeBinary, nullable=False, unique=True),
    _person(),
    Column("created", Time, nullable=False),
    Column("last_seen", Time, nullable=False),
    Column("expires", Time, nullable=False),
    _text("address"),
    _text("user_agent"),
)

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("id", Counted, primary_key=True, autoincrement=True),
    Column("token_hash", LargeBinary, nullable=False, unique=True),
    _person(),
    _text("name"),
    _text("role"),
    Column("created", Time, nullable=False),
    Column("expires", Time),
    Column("last_used", Time),
)

ssh_keys = Table(
    "ssh_keys",
    metadata,
    Column("id", Counted, primary_key=True, autoincrement=True),
    _person(),
    _text("name"),
    _text("type"),
    _text("blob"),
    Column("bits", Integer, nullable=False),
    _text("fingerprint"),
    _flag("offered", True),
    Column("created", Time, nullable=False),
    UniqueConstraint("person", "fingerprint"),
)

last_requests = Table(
    "last_requests",
    metadata,
    Column("person", Counted, ForeignKey("people.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("request", Json, nullable=False),
    Column("at", Time, nullable=False),
)

setup_links = Table(
    "setup_links",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),
    Column("created", Time, nullable=False),
    Column("expires", Time, nullable=False),
    Column("used", Time),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Counted, primary_key=True, autoincrement=True),
    Column("at", Time, nullable=False),
    Column("last", Time, nullable=False),
    _whole("count", 1),
    _text("who"),
    _text("via"),
    _text("address"),
    _text("action"),
    _text("object"),
    _text("outcome"),
    _text("detail"),
    _text("job"),
    _text("request_id"),
    Index("ix_audit_who", "who", "action", "object", "id"),
    Index("ix_audit_object", "object", "id"),
    Index("ix_audit_outcome", "outcome", "id"),
    Index("ix_audit_at", "at"),
    sqlite_autoincrement=True,
)

sign_in_attempts = Table(
    "sign_in_attempts",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("subject", Words, primary_key=True),
    _whole("failures"),
    Column("last", Time, nullable=False),
    Index("ix_sign_in_attempts_last", "last"),
)

owners = Table(
    "owners",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("pid", BigInteger, nullable=False),
    Column("seen", Time, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    _server(),
    _text("owner"),
    _whole("epoch"),
)
