"""SSH public keys, read out of what a person pastes: type, length, fingerprint; and private ones known at sight, to be refused."""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from comserv.domain.errors import Invalid

LEAST_RSA = 2048
MOST_NAME = 100
_PARTS = {
    "ssh-rsa": 3,
    "ssh-dss": 5,
    "ssh-ed25519": 2,
    "ecdsa-sha2-nistp256": 3,
    "ecdsa-sha2-nistp384": 3,
    "ecdsa-sha2-nistp521": 3,
    "sk-ssh-ed25519@openssh.com": 3,
    "sk-ecdsa-sha2-nistp256@openssh.com": 4,
}
"""Types, and how many parts a blob of each has, its type included (RFC 4253 section 6.6, RFC 5656, RFC 8709, PROTOCOL.u2f)."""

_PRIVATE = re.compile(r"PRIVATE KEY|PuTTY-User-Key-File|Private-Lines:|b3BlbnNzaC1rZXktdjE")
"""PEM and OpenSSH by their first line, PuTTY's file, and the bare body of OpenSSH's (`openssh-key-v1` in base64)."""

PRIVATE_FAULT = (
    "This is a private key; the public one is needed (the file that ends in .pub). Nothing of it was kept. "
    "If others may have seen it, make a new pair."
)


@dataclass(frozen=True)
class SshKey:
    """blob: the middle part, base64. bits: as `ssh-keygen -l` counts them. fingerprint: `SHA256:…`. name: the comment."""

    type: str
    blob: str
    bits: int
    fingerprint: str
    name: str = ""

    @property
    def text(self) -> str:
        """A line of authorized_keys."""
        return f"{self.type} {self.blob} {self.name}".rstrip()


def is_private(text: str) -> bool:
    return bool(_PRIVATE.search(text))


def blob_of(line: str) -> str:
    """What tells two lines of authorized_keys apart, whatever their comments say."""
    return [*line.split(), "", ""][1]


def read_ssh_key(line: str) -> SshKey:
    """One line, as `ssh-keygen` writes it. Raises Invalid with a sentence for `key`."""
    if fault := ssh_key_fault(line):
        raise Invalid(fields={"key": fault})
    kind, blob, *rest = line.split(None, 2)
    parts = _parts(_decoded(blob))
    if len(parts) != _PARTS[kind]:
        raise Invalid(fields={"key": "The middle part of the SSH key is not complete."})
    key = SshKey(kind, blob, _bits(parts), fingerprint_of(blob), clean_name(rest[0] if rest else ""))
    if kind == "ssh-dss":
        raise Invalid(fields={"key": "OpenSSH takes no DSA keys any more. Make one: ssh-keygen -t ed25519"})
    if kind == "ssh-rsa" and key.bits < LEAST_RSA:
        raise Invalid(
            fields={"key": f"An RSA key of {key.bits} bits is too short today. Make one: ssh-keygen -t ed25519"}
        )
    return key


def read_ssh_keys(text: str) -> tuple[SshKey, ...]:
    """Lines of authorized_keys, each key once; empty lines and comments are left out. Raises Invalid for `key`."""
    if is_private(text):
        raise Invalid(fields={"key": PRIVATE_FAULT})
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise Invalid(fields={"key": "Paste a public key: the content of the file that ends in .pub."})
    found = [read_ssh_key(line) for line in lines]
    return tuple({key.fingerprint: key for key in found}.values())


def ssh_key_fault(text: str) -> str:
    """What is wrong with a line of an authorized_keys file, as a sentence; the blob has to name the same type as the line."""
    if is_private(text):
        return PRIVATE_FAULT
    kind, _, rest = text.strip().partition(" ")
    if kind not in _PARTS:
        return "An SSH public key begins with its type, for example ssh-ed25519."
    blob = _decoded(rest.strip().partition(" ")[0])
    if not blob:
        return "The middle part of the SSH key is not complete."
    if not blob.startswith(len(kind).to_bytes(4, "big") + kind.encode()):
        return f"The middle part of the SSH key is not a key of the type {kind}."
    return ""


def fingerprint_of(blob: str) -> str:
    """As OpenSSH shows it: `SHA256:` and base64 without padding."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(_decoded(blob)).digest()).decode().rstrip("=")


def clean_name(text: str) -> str:
    """A comment on one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:MOST_NAME]


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _parts(blob: bytes) -> list[bytes]:
    """The strings of a blob, each with its length before it; none where it is cut off."""
    parts: list[bytes] = []
    at = 0
    while at < len(blob):
        end = at + 4 + int.from_bytes(blob[at : at + 4], "big")
        if end > len(blob) or at + 4 > len(blob):
            return []
        parts.append(blob[at + 4 : end])
        at = end
    return parts


def _bits(parts: list[bytes]) -> int:
    kind = parts[0].decode()
    if kind in ("ssh-rsa", "ssh-dss"):
        return int.from_bytes(parts[2 if kind == "ssh-rsa" else 1], "big").bit_length()
    found = re.search(r"nistp(\d+)", kind)
    return int(found[1]) if found else 256
