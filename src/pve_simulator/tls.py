"""A certificate authority of the server's own, and a certificate signed by it, as a fresh Proxmox VE has."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import ssl
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)


class Certificates:
    """What one server shows: `authority_pem` signs, `fingerprint` is `AA:BB:...` (SHA-256) of the server's."""

    def __init__(self, authority_key: ec.EllipticCurvePrivateKey, authority: x509.Certificate) -> None:
        self.authority_key = authority_key
        self.authority = authority
        self.renew()

    @classmethod
    def make(cls) -> Certificates:
        """A new authority and a first certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, "Proxmox Virtual Environment"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "PVE Cluster Manager CA"),
            ]
        )
        signing = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = (
            _builder(name, name, key, 3650)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(signing, critical=True)
        )
        return cls(key, builder.sign(key, hashes.SHA256()))

    @classmethod
    def load(cls, folder: Path) -> Certificates:
        """Those kept in a folder; made and kept there if there are none."""
        files = [folder / name for name in ("ca.key", "ca.pem", "server.key", "server.pem")]
        if not all(file.exists() for file in files):
            made = cls.make()
            made.save(folder)
            return made
        ca_key, ca, key, certificate = (file.read_bytes() for file in files)
        kept = cls(_key(ca_key), x509.load_pem_x509_certificate(ca))
        kept.key, kept.certificate = _key(key), x509.load_pem_x509_certificate(certificate)
        return kept

    def another(self, folder: Path | None) -> Certificates:
        """Those of a further node: the same authority, and a certificate kept in a folder, or new."""
        made = Certificates(self.authority_key, self.authority)
        files = [folder / name for name in ("server.key", "server.pem")] if folder else []
        if files and all(file.exists() for file in files):
            key, certificate = (file.read_bytes() for file in files)
            made.key, made.certificate = _key(key), x509.load_pem_x509_certificate(certificate)
        return made

    def save(self, folder: Path) -> None:
        """Writes keys and certificates."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in (
            ("ca.key", _private(self.authority_key)),
            ("ca.pem", self.authority_pem),
            ("server.key", _private(self.key)),
            ("server.pem", self.certificate_pem),
        ):
            file = folder / name
            file.write_bytes(data)
            file.chmod(0o600)

    def renew(self) -> None:
        """A new key and certificate of the same authority."""
        self.key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, "localhost"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Proxmox Virtual Environment"),
            ]
        )
        names = [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.IPAddress(ipaddress.ip_address("::1")),
        ]
        builder = (
            _builder(name, self.authority.subject, self.key, 730)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.authority_key.public_key()), critical=False
            )
        )
        self.certificate = builder.sign(self.authority_key, hashes.SHA256())

    @property
    def authority_pem(self) -> bytes:
        """The authority's certificate."""
        return self.authority.public_bytes(serialization.Encoding.PEM)

    @property
    def certificate_pem(self) -> bytes:
        """The server's certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the server's certificate, upper case with colons."""
        made = hashlib.sha256(self.certificate.public_bytes(serialization.Encoding.DER)).hexdigest().upper()
        return ":".join(made[index : index + 2] for index in range(0, 64, 2))

    def context(self) -> ssl.SSLContext:
        """For the listener: TLS 1.2 or 1.3, no ALPN."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            file.write(_private(self.key) + self.certificate_pem)
            file.flush()
            context.load_cert_chain(file.name)
        return context


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + days * DAY)
    )


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _key(data: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(data, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("the key kept in the state folder is no elliptic curve key")
    return key
