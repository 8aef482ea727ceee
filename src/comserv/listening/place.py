"""Which address may be listened on, and the socket: any but loopback needs a certificate, or a proxy that ends TLS."""

import ipaddress
import socket
from urllib.parse import urlsplit

from comserv.domain.errors import ConfigurationError
from comserv.settings import Settings

WAYS = (
    "Choose one: --tls self-signed, --tls CERTIFICATE.pem,KEY.pem (or --tls-cert and --tls-key), "
    "or --behind-proxy CIDR with --public-url https://…"
)


def check(settings: Settings) -> None:
    """Raises ConfigurationError where others could listen in, and says which way to choose."""
    _check_public_url(settings)
    if settings.behind_proxy:
        _check_proxy(settings)
    if not is_loopback(settings.host) and not settings.serves_tls and not settings.behind_proxy:
        raise ConfigurationError(
            f"{settings.host} is not loopback: passwords and tokens would cross the network in the clear.", cure=WAYS
        )


def _check_public_url(settings: Settings) -> None:
    if not settings.public_url:
        return
    cure = "Set COMSERV_PUBLIC_URL to scheme and host, for example https://comserv.example.org."
    try:
        url = urlsplit(settings.public_url)
        host, _ = url.hostname, url.port
    except ValueError as error:
        raise ConfigurationError(f"The public URL cannot be read: {error}", cure=cure) from error
    if url.scheme not in ("http", "https") or not host or "@" in url.netloc:
        raise ConfigurationError(f"The public URL {settings.public_url} is none that a browser opens.", cure=cure)
    if url.path not in ("", "/") or url.query or url.fragment:
        raise ConfigurationError("Comserv needs a host name of its own: it cannot be served below a path.", cure=cure)
    if settings.serves_tls and url.scheme != "https":
        raise ConfigurationError("TLS is served, but the public URL begins with http://.", cure=cure)


def _check_proxy(settings: Settings) -> None:
    cure = "Give the networks of your proxies, for example 10.0.0.5/32, or 127.0.0.1/32 for one on this machine."
    try:
        networks = settings.proxies
    except ValueError as error:
        raise ConfigurationError(f"--behind-proxy: {error}", cure=cure) from error
    if any(network.prefixlen == 0 for network in networks):
        raise ConfigurationError(
            "--behind-proxy names everybody: anyone could say to come from anywhere, and would be served in the clear.",
            cure=cure,
        )
    if not settings.public_url.startswith("https://"):
        cure = "Set COMSERV_PUBLIC_URL, for example https://comserv.example.org."
        raise ConfigurationError(
            "Behind a proxy the address that browsers use has to be known, and be https.", cure=cure
        )


def is_loopback(host: str) -> bool:
    """An address of loopback, or a name that leads there and nowhere else."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def bind(settings: Settings) -> socket.socket:
    """The listening socket. Raises ConfigurationError where the port is in use or the address is not ours."""
    host = settings.host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, settings.port))
    except OSError as error:
        listener.close()
        cure = "Stop what listens there, or choose another port: --port."
        raise ConfigurationError(
            f"{settings.host}:{settings.port} cannot be used: {error.strerror}", cure=cure
        ) from error
    listener.listen(2048)
    listener.set_inheritable(False)
    return listener


def base_url(settings: Settings, port: int) -> str:
    """Where people reach it."""
    if settings.public_url:
        return settings.public_url.rstrip("/")
    host = settings.host if ":" not in settings.host or settings.host.startswith("[") else f"[{settings.host}]"
    host = socket.gethostname() if host in ("0.0.0.0", "[::]") else host  # noqa: S104 # told, not bound to
    return f"{'https' if settings.serves_tls else 'http'}://{host}:{port}"
