"""Settings by environment (`COMSERV_…`) or by a file of NAME=value lines that COMSERV_SETTINGS_FILE names."""

import ipaddress
import os
from datetime import timedelta
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


def default_data_dir() -> Path:
    """/var/lib/comserv for root, else the user's own data folder."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/comserv")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "comserv"


class Settings(BaseSettings):
    """What an installation is told from outside. Everything else is kept in its database."""

    model_config = SettingsConfigDict(env_prefix="COMSERV_", extra="ignore")

    data_dir: Path = Field(default_factory=default_data_dir)
    """Where the SQLite database and the key lie; made with mode 0700."""

    host: str = "127.0.0.1"
    """The address to listen on. Any but loopback needs a certificate or `behind_proxy`."""

    port: int = Field(default=8080, ge=0, le=65535)
    """0 takes a free one."""

    database_url: SecretStr | None = None
    """`postgresql://user:password@host/name`; unset: SQLite in the data folder, one process."""

    key_file: Path | None = None
    """The key that secrets are encrypted with; unset: `key` in the data folder. All processes of one database need the same."""

    proof_wait: float = Field(default=300, gt=0)
    """Seconds that a creation waits for the guest agent: a slow image's first boot with package updates takes minutes."""

    outcome_wait: float = Field(default=35, gt=0)
    """Seconds after which a call that shows no trace was not carried out: Proxmox's own inner limit is 30."""

    hold_limit: float = Field(default=24 * 3600, gt=0)
    """Seconds that a job is held for a server that does not answer, then it fails truly: a night and a working day."""

    public_url: str = ""
    """The address that browsers use: its host is the only name that Comserv then goes by, but for loopback's."""

    tls: str = ""
    """`self-signed`, or `CERTIFICATE.pem,KEY.pem`; needed for any address but loopback unless `behind_proxy`."""

    tls_cert: Path | None = None
    tls_key: Path | None = None
    """The same as `CERTIFICATE.pem,KEY.pem`, one by one."""

    behind_proxy: str = ""
    """The CIDRs, parted by commas, that requests of TLS-ending proxies come from; needs `public_url`."""

    sweep_seconds: float = Field(default=10, ge=1)
    """Between two sweeps of one server: Proxmox itself refreshes no faster than every 10 s."""

    sign_in_hours: float = Field(default=24 * 14, gt=0)
    """How long a session lives without being used."""

    log_level: str = Field(default="INFO", pattern="^(?i:debug|info|warning|error|critical)$")
    log_format: str = Field(default="", pattern="^(|json|text)$")
    """Empty: text on a terminal, JSON else."""

    metrics: str = Field(default="", pattern="^(|loopback|token)$")
    """`/metrics` for Prometheus. Empty: there is none. `loopback`: told to this machine only. `token`: with any API token."""

    job_retention_days: int = Field(default=365, ge=1)
    """How long ended jobs and their calls are kept."""

    audit_retention_days: int = Field(default=730, ge=1)

    @property
    def database(self) -> str:
        """The database's URL, SQLite in the data folder by default."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite+aiosqlite:///{self.data_dir.resolve() / 'comserv.db'}"

    @property
    def serves_tls(self) -> bool:
        """Comserv itself speaks TLS."""
        return bool(self.tls or self.tls_cert or self.tls_key)

    @property
    def secure(self) -> bool:
        """Browsers reach it by HTTPS, whoever ends it."""
        return self.serves_tls or self.public_url.startswith("https://")

    @property
    def proxies(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """The networks of `behind_proxy`. Raises ValueError."""
        return tuple(ipaddress.ip_network(one.strip()) for one in self.behind_proxy.split(",") if one.strip())

    @property
    def embedded(self) -> bool:
        """SQLite, one process."""
        return self.database.startswith("sqlite")

    @property
    def key_path(self) -> Path:
        credentials = os.environ.get("CREDENTIALS_DIRECTORY")
        if self.key_file is None and credentials and (Path(credentials) / "comserv-key").exists():
            return Path(credentials) / "comserv-key"
        return self.key_file or self.data_dir / "key"

    @property
    def hold_limit_time(self) -> timedelta:
        return timedelta(seconds=self.hold_limit)


def load_settings() -> Settings:
    """Environment first, then the file named by COMSERV_SETTINGS_FILE. Raises pydantic's ValidationError."""
    return Settings(_env_file=os.environ.get("COMSERV_SETTINGS_FILE"))  # pyright: ignore[reportCallIssue] # pydantic-settings' own argument
