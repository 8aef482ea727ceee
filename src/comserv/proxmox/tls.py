"""How a server's certificate is verified: by the system's CAs, a CA given, or an accepted fingerprint. There is no "off"."""

import asyncio
import errno
import hashlib
import socket
import ssl
from functools import cache
from urllib.parse import urlsplit

from aiohttp import Fingerprint
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from comserv.domain.connection import CertificateSeen
from comserv.domain.errors import CertificateRefused, Invalid, ReplyUnreadable, ServerUnreachable
from comserv.domain.reaching import Unreached, Untrusted
from comserv.domain.server import DEFAULT_PORT, Tls, TlsMode
from comserv.proxmox.destinations import open_connection, resolved

LOOK_TIMEOUT = 5.0  # seconds for a connection and its handshake
PLAIN_WAIT = 0.7  # seconds for a greeting of what speaks no TLS
TOO_OLD = (
    "UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "SSLV3_ALERT_HANDSHAKE_FAILURE", "DH_KEY_TOO_SMALL",
    "LEGACY_SIGALG_DISALLOWED_OR_UNSUPPORTED", "WRONG_SIGNATURE_TYPE", "NO_PROTOCOLS_AVAILABLE", "UNSAFE_LEGACY_RENEGOTIATION_DISABLED",
)  # fmt: skip
"""Reasons of OpenSSL for a server whose TLS it does not take any more."""
VERIFY = {
    9: Untrusted.NOT_YET,
    10: Untrusted.EXPIRED,
    18: Untrusted.SELF_SIGNED,
    19: Untrusted.UNKNOWN_CA,
    20: Untrusted.UNKNOWN_CA,
    21: Untrusted.UNKNOWN_CA,
    62: Untrusted.WRONG_NAME,
    64: Untrusted.WRONG_NAME,
}
"""X509_V_ERR_… of OpenSSL (x509_vfy.h)."""
UNTRUSTED_WORDS = {
    Untrusted.NOT_YET: "it is not valid yet",
    Untrusted.EXPIRED: "it has expired",
    Untrusted.SELF_SIGNED: "it is signed by itself",
    Untrusted.UNKNOWN_CA: "its CA is not known here",
    Untrusted.WRONG_NAME: "it is for another name",
}


class Pin(Fingerprint):
    """An accepted fingerprint. It is checked after the handshake and before anything is sent; it does not check expiry."""


def verification(tls: Tls, address: str, server: str = "") -> ssl.SSLContext | Pin:
    """What aiohttp takes as `ssl=`. Raises CertificateRefused where nothing was agreed for the address."""
    if tls.mode is TlsMode.SYSTEM:
        return system_context()
    if tls.mode is TlsMode.CA:
        return _ca_context(tls.ca_pem)
    pin = tls.fingerprints.get(address)
    if not pin:
        raise CertificateRefused(f"no fingerprint has been accepted for {address}", server=server, address=address)
    return Pin(bytes.fromhex(pin.replace(":", "")))


@cache
def system_context() -> ssl.SSLContext:
    return ssl.create_default_context()


@cache
def _ca_context(pem: str) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=parse_ca(pem))


def parse_ca(pem: str) -> str:
    """One or more CA certificates as PEM, with one line at the end. Raises Invalid, in words."""
    try:
        certificates = x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        raise Invalid(fields={"tls.ca_pem": "this is no certificate; paste the whole of pve-root-ca.pem"}) from None
    for certificate in certificates:
        try:
            is_ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except x509.ExtensionNotFound:
            is_ca = False
        if not is_ca:
            raise Invalid(fields={"tls.ca_pem": f"{certificate.subject.rfc4514_string()} is no CA; take its issuer's"})
    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in certificates)


def fingerprint(der: bytes) -> str:
    """SHA-256, `AA:BB:…`."""
    return x509.load_der_x509_certificate(der).fingerprint(SHA256()).hex(":").upper()


async def look(address: str) -> CertificateSeen:
    """The certificate that an address shows, to be shown to a person: nothing is sent after the handshake, and nothing
    is trusted because of it. Raises ServerUnreachable."""
    try:
        der = await _handshake(address, _unverified())
    except (OSError, TimeoutError) as error:
        raise ServerUnreachable(f"no TLS with {address}: {words(error)}", server=address) from error
    return certificate_seen(address, der, trusted=not await refusal(address, system_context()))


async def refusal(address: str, context: ssl.SSLContext) -> str:
    """Why a verifying handshake fails, or empty."""
    found = await refused(address, context)
    return found[1] if found else ""


async def refused(address: str, context: ssl.SSLContext) -> tuple[Untrusted, str] | None:
    """Why a verifying handshake fails, as its kind and in words; None where it does not."""
    try:
        await _handshake(address, context)
    except (OSError, TimeoutError) as error:
        code = error.verify_code if isinstance(error, ssl.SSLCertVerificationError) else 0
        return VERIFY.get(code, Untrusted.OTHER), words(error)
    return None


def kind_of(error: BaseException) -> Unreached:
    """What keeps a name, a port or a handshake from working."""
    if isinstance(error, TimeoutError):
        return Unreached.SILENT
    if isinstance(error, socket.gaierror):
        return Unreached.NAME_SERVER_SILENT if error.errno == socket.EAI_AGAIN else Unreached.NAME_UNKNOWN
    if isinstance(error, UnicodeError):
        return Unreached.NAME_UNKNOWN
    if isinstance(error, ssl.SSLEOFError):
        return Unreached.CLOSED
    if isinstance(error, ssl.SSLError):
        return Unreached.TLS_TOO_OLD if error.reason in TOO_OLD else Unreached.NO_TLS
    if isinstance(error, ConnectionRefusedError):
        return Unreached.REFUSED
    if isinstance(error, ConnectionError):
        return Unreached.CLOSED
    routeless = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.EADDRNOTAVAIL)
    return Unreached.NO_ROUTE if isinstance(error, OSError) and error.errno in routeless else Unreached.OTHER


async def plain_answer(address: str) -> bytes:
    """What answers without TLS: its greeting, or its reply to a plain GET without credentials; empty where nothing does."""
    host, port = host_and_port(address)
    try:
        async with asyncio.timeout(LOOK_TIMEOUT):
            reader, writer = await asyncio.open_connection((await resolved(host, port))[0], port)
    except (OSError, IndexError, TimeoutError):  # the caller tells what TLS said instead
        return b""
    try:
        greeting = await _heard(reader, PLAIN_WAIT)
        if greeting:
            return greeting
        writer.write(b"GET / HTTP/1.0\r\nHost: " + host.encode("idna") + b"\r\n\r\n")
        return await _heard(reader, 2 * PLAIN_WAIT)
    finally:
        writer.transport.abort()


async def speaks_old(address: str) -> bool:
    """Whether a handshake succeeds only with TLS older than we take. Nothing is sent on it."""
    context = _unverified()
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("ALL:@SECLEVEL=0")
    try:
        await _handshake(address, context)
    except (OSError, TimeoutError):  # then it is something else, which the caller tells
        return False
    return True


async def _heard(reader: asyncio.StreamReader, seconds: float) -> bytes:
    try:
        async with asyncio.timeout(seconds):
            return await reader.read(2048)
    except (OSError, TimeoutError):  # it says nothing, which is what was asked
        return b""


def certificate_seen(address: str, der: bytes, trusted: bool) -> CertificateSeen:
    """Raises ReplyUnreadable for what TLS takes as a certificate and nobody can read."""
    try:
        return _certificate_seen(address, x509.load_der_x509_certificate(der), trusted)
    except (ValueError, x509.UnsupportedGeneralNameType) as error:
        raise ReplyUnreadable(f"{address} shows a certificate that cannot be read: {error}", server=address) from error


def certificate_of_pem(address: str, pem: str) -> CertificateSeen | None:
    """A certificate that was kept; None where it is none."""
    try:
        return _certificate_seen(address, x509.load_pem_x509_certificate(pem.encode()), trusted=False)
    except (ValueError, x509.UnsupportedGeneralNameType):  # the caller says that no copy is there
        return None


def _certificate_seen(address: str, certificate: x509.Certificate, trusted: bool) -> CertificateSeen:
    return CertificateSeen(
        address=address,
        fingerprint=certificate.fingerprint(SHA256()).hex(":").upper(),
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        not_before=certificate.not_valid_before_utc.isoformat(),
        not_after=certificate.not_valid_after_utc.isoformat(),
        trusted_by_system=trusted,
        pem=certificate.public_bytes(Encoding.PEM).decode(),
        names=_names(certificate),
        key=hashlib.sha256(
            certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        ).hexdigest(),
    )


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    """Hosts and addresses it is for."""
    try:
        told = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    names = [*told.get_values_for_type(x509.DNSName), *map(str, told.get_values_for_type(x509.IPAddress))]
    return tuple(dict.fromkeys(names))


def words(error: BaseException) -> str:
    """An error of a connection in a person's words."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        told = error.verify_message or str(error)
        ours = UNTRUSTED_WORDS.get(VERIFY.get(error.verify_code, Untrusted.OTHER))
        return f"{ours} ({told})" if ours else told
    if isinstance(error, ssl.SSLError):
        return "what answers there does not speak TLS" if error.reason == "WRONG_VERSION_NUMBER" else str(error)
    if isinstance(error, ConnectionRefusedError):
        return "connection refused, nothing listens there"
    return (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__


def host_and_port(address: str) -> tuple[str, int]:
    """`https://[fd00::1]:8006` → `("fd00::1", 8006)`."""
    parts = urlsplit(address)
    return parts.hostname or "", parts.port or DEFAULT_PORT


async def _handshake(address: str, context: ssl.SSLContext) -> bytes:
    host, port = host_and_port(address)
    async with asyncio.timeout(LOOK_TIMEOUT):
        writer = await open_connection(host, port, context)
    try:
        return writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.transport.abort()


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # only to show the certificate: see look()
    return context
