"""Where Comserv listens, and with which certificate: loopback needs none, anything else does, or a proxy that ends TLS."""

import datetime as dates
import ipaddress
import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from comserv.domain.errors import ConfigurationError
from comserv.settings import Settings

SELF_SIGNED = "self-signed"
SELF_SIGNED_DAYS = 3650


@dataclass(frozen=True)
class Certificate:
    """Files in PEM. fingerprint: SHA-256 `AA:BB:…` of one that we signed ourselves, to be compared in the browser."""

    chain: Path
    key: Path
    fingerprint: str = ""


def check(settings: Settings) -> None:
    """Raises ConfigurationError where others could listen in, and says which way to choose."""
    if settings.behind_proxy:
        _check_proxy(settings)
    if not is_loopback(settings.host) and not settings.tls and not settings.behind_proxy:
        raise ConfigurationError(
            f"{settings.host} is not loopback: passwords and tokens would cross the network in the clear.",
            cure="Choose one: --tls self-signed, --tls CERTIFICATE.pem,KEY.pem, or --behind-proxy CIDR with --public-url https://…",
        )


def _check_proxy(settings: Settings) -> None:
    try:
        ipaddress.ip_network(settings.behind_proxy)
    except ValueError as error:
        cure = "Give the proxy's network, for example 10.0.0.5/32."
        raise ConfigurationError(f"--behind-proxy: {error}", cure=cure) from error
    if not settings.public_url.startswith("https://"):
        cure = "Set COMSERV_PUBLIC_URL, for example https://comserv.example.org."
        raise ConfigurationError(
            "Behind a proxy the address that browsers use has to be known, and be https.", cure=cure
        )


class OnlyFromProxy:
    """Refuses every peer but those of the proxy's network and this machine: they would be served in the clear.

    Stands before all that takes `X-Forwarded-For` for the peer. network: as `check` took it.
    """

    def __init__(self, app: ASGIApp, network: str) -> None:
        self._app, self._network = app, ipaddress.ip_network(network)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer = _peer(scope)
        if peer is None or not (peer.is_loopback or peer in self._network):
            words = "Comserv is reached through its proxy only: open the address that your administrator gave you.\n"
            await PlainTextResponse(words, 403)(scope, receive, send)
            return
        await self._app({**scope, "client": (str(peer), scope["client"][1])}, receive, send)


def behind_proxy(app: ASGIApp, settings: Settings) -> ASGIApp:
    """The application as the proxy reaches it; itself where there is none."""
    if not settings.behind_proxy:
        return app
    trusting: Any = ProxyHeadersMiddleware(cast("Any", app), trusted_hosts=settings.behind_proxy)
    return OnlyFromProxy(trusting, settings.behind_proxy)


def _peer(scope: Scope) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address at the other end of the socket; an IPv4 one also where it came in by IPv6."""
    try:
        peer = ipaddress.ip_address(scope["client"][0].partition("%")[0])
    except (KeyError, TypeError, ValueError):
        return None
    return (peer.ipv4_mapped or peer) if isinstance(peer, ipaddress.IPv6Address) else peer


def is_loopback(host: str) -> bool:
    if host == "localhost":
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
    return f"{'https' if settings.tls else 'http'}://{host}:{port}"


def certificate(settings: Settings) -> Certificate | None:
    """None where plain HTTP is served. Raises ConfigurationError where a file is missing."""
    if not settings.tls:
        return None
    if settings.tls == SELF_SIGNED:
        return _self_signed(settings.data_dir, settings.host)
    chain, _, key = settings.tls.partition(",")
    for name in (chain, key):
        if not name or not os.access(name, os.R_OK):
            cure = "Give --tls self-signed, or --tls CERTIFICATE.pem,KEY.pem."
            raise ConfigurationError(f"The TLS file {name or '(none)'} cannot be read.", cure=cure)
    _check_pair(chain, key)
    return Certificate(Path(chain), Path(key))


def _check_pair(chain: str, key: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, key, password=lambda: "")
    except (ssl.SSLError, ValueError) as error:
        cure = "Both are PEM, the key belongs to the certificate, and it has no passphrase."
        raise ConfigurationError(f"{chain} and {key} cannot be used: {error}", cure=cure) from error


def _self_signed(folder: Path, host: str) -> Certificate:
    """Made once and kept, so that the fingerprint that was compared stays."""
    chain, key = folder / "tls.crt", folder / "tls.key"
    if not chain.exists() or not key.exists():
        _make(chain, key, host)
    found = x509.load_pem_x509_certificate(chain.read_bytes())
    return Certificate(chain, key, found.fingerprint(hashes.SHA256()).hex(":").upper())


def _make(chain: Path, key: Path, host: str) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Comserv on {socket.gethostname()}"[:64])])
    names: list[x509.GeneralName] = [x509.DNSName(socket.gethostname()), x509.DNSName("localhost")]
    names += [x509.IPAddress(ipaddress.ip_address(one)) for one in {"127.0.0.1", host.strip("[]")} if _is_address(one)]
    now = dates.datetime.now(dates.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dates.timedelta(hours=1))
        .not_valid_after(now + dates.timedelta(days=SELF_SIGNED_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(private, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(pem)
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))


def _is_address(text: str) -> bool:
    try:
        return not ipaddress.ip_address(text).is_unspecified
    except ValueError:
        return False
