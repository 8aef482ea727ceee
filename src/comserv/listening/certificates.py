"""The certificate that Comserv serves: files given to it, followed as they are renewed, or one of its own in the data folder.

One of our own is made once, kept, and made anew before it ends or when it does not name where Comserv is reached any more.
"""

import asyncio
import datetime as dates
import ipaddress
import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from comserv.domain.errors import ConfigurationError
from comserv.settings import Settings

SELF_SIGNED = "self-signed"
LASTS = dates.timedelta(days=820)  # browsers on Apple's systems take none of more than 825 days
RENEW_BEFORE = dates.timedelta(days=30)
LOOK = 2.0  # s between two looks at the files
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2; those of 1.3 are all good

logger = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Certificate:
    """Files in PEM, and what the certificate says. fingerprint: SHA-256 `AA:BB:…`. own: made by Comserv."""

    chain: Path
    key: Path
    fingerprint: str
    names: tuple[str, ...]
    begins: dates.datetime
    ends: dates.datetime
    own: bool = False


def certificate(settings: Settings) -> Certificate | None:
    """None where plain HTTP is served. Raises ConfigurationError where a file is missing or of no use."""
    if not settings.serves_tls:
        return None
    if settings.tls == SELF_SIGNED and not settings.tls_cert:
        return _self_signed(settings)
    return _given(*_files(settings))


def look(settings: Settings) -> Certificate | None:
    """As `certificate`, but makes none: None also where one of our own is still to be made."""
    if settings.serves_tls and settings.tls == SELF_SIGNED and not settings.tls_cert:
        return _own(*_own_files(settings))
    return certificate(settings)


def _files(settings: Settings) -> tuple[str, str]:
    cure = (
        "Give --tls self-signed, --tls CERTIFICATE.pem,KEY.pem, or --tls-cert CERTIFICATE.pem with --tls-key KEY.pem."
    )
    if settings.tls and (settings.tls_cert or settings.tls_key):
        raise ConfigurationError("--tls and --tls-cert are two ways to say the same.", cure=cure)
    chain, _, key = settings.tls.partition(",")
    chain, key = chain or str(settings.tls_cert or ""), key or str(settings.tls_key or "")
    for name in (chain, key):
        if not name or not os.access(name, os.R_OK):
            raise ConfigurationError(f"The TLS file {name or '(none)'} cannot be read.", cure=cure)
    return chain, key


def _given(chain: str, key: str) -> Certificate:
    try:
        context_of(Path(chain), Path(key))
        return _read(Path(chain), Path(key))
    except (ssl.SSLError, ValueError, OSError) as error:
        cure = "Both are PEM, the key belongs to the certificate, and it has no passphrase."
        raise ConfigurationError(f"{chain} and {key} cannot be used: {error}", cure=cure) from error


def context_of(chain: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 and 1.3. Raises SSLError, ValueError (a passphrase), OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(chain, key, password=lambda: "")
    return context


def _read(chain: Path, key: Path, own: bool = False) -> Certificate:
    found = x509.load_pem_x509_certificate(chain.read_bytes())
    fingerprint = found.fingerprint(hashes.SHA256()).hex(":").upper()
    return Certificate(
        chain, key, fingerprint, _names(found), found.not_valid_before_utc, found.not_valid_after_utc, own
    )


def _names(found: x509.Certificate) -> tuple[str, ...]:
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = [str(one) for one in names.get_values_for_type(x509.IPAddress)]
    return (*(one.lower() for one in names.get_values_for_type(x509.DNSName)), *addresses)


def now() -> dates.datetime:
    return dates.datetime.now(dates.UTC)


# --- one of our own


def _self_signed(settings: Settings) -> Certificate:
    """Kept, so that the fingerprint that was compared stays, as long as it is of use."""
    chain, key = _own_files(settings)
    found = _own(chain, key)
    why = _why_anew(found, settings)
    if why:
        _make(chain, key, settings)
        found = _read(chain, key, own=True)
        logger.info("made a certificate", why=why, fingerprint=found.fingerprint, until=found.ends.date().isoformat())
    assert found is not None  # noqa: S101 - without one there is a reason to make it
    return found


def _own_files(settings: Settings) -> tuple[Path, Path]:
    return settings.data_dir / "tls.crt", settings.data_dir / "tls.key"


def _own(chain: Path, key: Path) -> Certificate | None:
    """The one that is there, None where there is none or it is of no use, as after a crash between its two files."""
    try:
        context_of(chain, key)
        return _read(chain, key, own=True)
    except (OSError, ValueError):  # an SSLError is an OSError
        return None


def _why_anew(found: Certificate | None, settings: Settings) -> str:
    if found is None:
        return "there was none"
    if now() > found.ends - RENEW_BEFORE:
        return "the former one ends"
    missing = [name for name in _wanted(settings) if name not in found.names]
    return f"the former one does not name {', '.join(missing)}" if missing else ""


def _wanted(settings: Settings) -> list[str]:
    """Names that were chosen, by host and public URL."""
    public = urlsplit(settings.public_url).hostname or ""
    return [one for one in (settings.host.strip("[]").lower(), public) if one and not _is_unspecified(one)]


def _is_unspecified(text: str) -> bool:
    return _address(text) in (ipaddress.ip_address("0.0.0.0"), ipaddress.ip_address("::"))  # noqa: S104 - compared, not bound


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _own_address() -> str:
    """From where this machine would speak to another, or nothing. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))
        except OSError:
            return ""
        return asking.getsockname()[0]


def _make(chain: Path, key: Path, settings: Settings) -> None:
    machine = socket.gethostname()
    texts = dict.fromkeys([*_wanted(settings), machine.lower(), "localhost", "127.0.0.1", "::1", _own_address()])
    names = [_general_name(text) for text in texts if text]
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Comserv on {machine}"[:64])])
    usage = dict.fromkeys(
        (
            "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign",
            "encipher_only", "decipher_only",
        ),
        False,
    )  # fmt: skip
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() - dates.timedelta(hours=1))
        .not_valid_after(now() + LASTS)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, **usage), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
        .sign(private, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    _write(key, pem)
    _write(chain, made.public_bytes(serialization.Encoding.PEM))


def _general_name(text: str) -> x509.GeneralName:
    address = _address(text)
    return x509.IPAddress(address) if address else x509.DNSName(text)


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, for nobody else's eyes."""
    fresh = path.with_suffix(f"{path.suffix}.new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    fresh.replace(path)


# --- while it is served


class Tls:
    """What is served now. `follow` takes over a renewed certificate for new connections, without a restart."""

    def __init__(self, settings: Settings, served: Certificate) -> None:
        self._settings, self.certificate = settings, served
        self.context = context_of(served.chain, served.key)
        self._seen = _stamp(served)
        self._said = ""
        self._warn_of_its_time()

    async def follow(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            self.look()

    def look(self) -> None:
        """Takes what the files hold now. Files that do not fit (yet) change nothing, and are looked at again."""
        own_ends = self.certificate.own and now() > self.certificate.ends - RENEW_BEFORE
        stamp = _stamp(self.certificate)
        if stamp == self._seen and not own_ends:
            return
        try:
            found = certificate(self._settings)
        except (ConfigurationError, OSError) as error:
            self._complain(str(error))
            return
        if found is None:
            return
        self.context.load_cert_chain(found.chain, found.key, password=lambda: "")
        self._seen, self._said = stamp if not own_ends else _stamp(found), ""
        if found.fingerprint != self.certificate.fingerprint:
            logger.info("serving a renewed certificate", fingerprint=found.fingerprint, until=found.ends.isoformat())
        self.certificate = found
        self._warn_of_its_time()

    def _complain(self, said: str) -> None:
        """Once for each reason."""
        if said != self._said:
            self._said = said
            logger.error("the certificate's files changed and cannot be used; the former one is still served", why=said)

    def _warn_of_its_time(self) -> None:
        if not self.certificate.begins <= now() < self.certificate.ends:
            logger.warning("the certificate is not valid today", until=self.certificate.ends.isoformat())


def _stamp(of: Certificate) -> tuple[object, ...]:
    """What changes when one of the files is written or replaced, also behind a symbolic link."""
    found: list[object] = []
    for path in (of.chain, of.key):
        try:
            told = path.stat()
            found.append((told.st_ino, told.st_mtime_ns, told.st_size))
        except OSError as error:
            found.append(error.errno)
    return tuple(found)
