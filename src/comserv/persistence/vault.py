"""Secrets at rest: AES-256-GCM bound to table, row and column; keyed hashes for fingerprints and markers.

A key is 32 bytes. A key file holds one key in base64 per line: the first encrypts, all of them decrypt. To rotate, put a
new line on top, run `reencrypt` (persistence/rotation.py), then take the old line away.
"""

import base64
import binascii
import contextlib
import hashlib
import hmac
import os
import stat
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from comserv.domain.errors import ConfigurationError

KEY_BYTES, KEY_ID_BYTES, NONCE_BYTES = 32, 4, 12
FORMAT = b"\x01"


def new_key() -> str:
    """A fresh key as a key file has it: one line of base64."""
    return base64.b64encode(os.urandom(KEY_BYTES)).decode()


def load_or_create_key(path: Path) -> str:
    """The text of the key file, made with mode 0600 where there is none. Raises ConfigurationError for wider modes."""
    if not path.exists():
        _create(path)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077 and not _is_credential(path):
        raise ConfigurationError(f"{path} can be read by others (mode {mode:04o}).", cure=f"Run: chmod 600 {path}")
    try:
        return path.read_text("ascii")
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(
            f"The key file {path} cannot be read: {error}", cure="Check owner and content."
        ) from error


def _is_credential(path: Path) -> bool:
    """systemd's folder lets nobody else in; an ACL there shows as a mode of 0440."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return folder is not None and path.parent == Path(folder)


def _create(path: Path) -> None:
    """Complete before it is there under its name, and never over another process's."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(file, "w") as stream:
            stream.write(new_key() + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()


class _Key:
    def __init__(self, raw: bytes) -> None:
        self.id = hashlib.sha256(b"comserv key id" + raw).digest()[:KEY_ID_BYTES]
        self.cipher = AESGCM(self._derive(raw, b"encrypt"))
        self._hash = self._derive(raw, b"hash")

    @staticmethod
    def _derive(raw: bytes, purpose: bytes) -> bytes:
        return HKDF(SHA256(), KEY_BYTES, salt=None, info=b"comserv " + purpose).derive(raw)

    def hash(self, purpose: str, data: bytes) -> bytes:
        return hmac.digest(self._hash, purpose.encode() + b"\0" + data, "sha256")


def _row(table: str, row: str, column: str) -> bytes:
    return "\0".join((table, row, column)).encode()


class Vault:
    """Encrypts with its first key, decrypts with any of them."""

    def __init__(self, text: str) -> None:
        """text: as a key file has it (from a file, the environment or a systemd credential). Raises ConfigurationError."""
        keys = [_Key(self._raw(line)) for line in text.split()]
        if not keys:
            raise ConfigurationError("The key is empty.", cure="Put back the key file from your backup.")
        self._keys = {key.id: key for key in keys}
        self._current = keys[0]

    @staticmethod
    def _raw(line: str) -> bytes:
        try:
            raw = base64.b64decode(line, validate=True)
        except binascii.Error:
            raw = b""
        if len(raw) != KEY_BYTES:
            raise ConfigurationError(
                "The key is not 32 bytes in base64.", cure="Put back the key file from your backup."
            )
        return raw

    def encrypt(self, text: str, *, table: str, row: str, column: str) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._current.cipher.encrypt(nonce, text.encode(), _row(table, row, column))
        return FORMAT + self._current.id + nonce + sealed

    def decrypt(self, sealed: bytes, *, table: str, row: str, column: str) -> str:
        """Raises ConfigurationError where the key is another one, or the value is not of this row."""
        key = self._keys.get(sealed[1 : 1 + KEY_ID_BYTES])
        start = 1 + KEY_ID_BYTES + NONCE_BYTES
        if sealed[:1] != FORMAT or key is None:
            raise ConfigurationError(
                f"{column} of {table} {row} was encrypted with a key that is not here.",
                cure="Put back the key file that belongs to this database.",
            )
        try:
            return key.cipher.decrypt(
                sealed[1 + KEY_ID_BYTES : start], sealed[start:], _row(table, row, column)
            ).decode()
        except InvalidTag:
            raise ConfigurationError(
                f"{column} of {table} {row} was changed, or belongs to another row.",
                cure="Restore the database from a backup, or enter the secret anew.",
            ) from None

    def is_current(self, sealed: bytes) -> bool:
        """Whether the first key encrypted it."""
        return sealed[1 : 1 + KEY_ID_BYTES] == self._current.id

    def keyed_hash(self, data: bytes, purpose: str = "fingerprint") -> bytes:
        """32 bytes of HMAC-SHA-256 by the first key; each purpose has its own space."""
        return self._current.hash(purpose, data)

    def lasting_hash(self, data: bytes, purpose: str) -> bytes:
        """The same by the last key of the file: what leaves this database (markers on servers) stays known while a new key comes."""
        return list(self._keys.values())[-1].hash(purpose, data)

    def verify(self, data: bytes, digest: bytes, purpose: str = "fingerprint") -> bool:
        """Whether any of the keys made `digest`, in constant time per key."""
        return any(hmac.compare_digest(key.hash(purpose, data), digest) for key in self._keys.values())
