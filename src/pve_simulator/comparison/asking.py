"""Asks a server what the recordings asked: GET and nothing else, by an API token, over verified TLS."""

from __future__ import annotations

import hashlib
import http.client
import json
import ssl
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from pve_simulator.errors import SimulatorError

PATIENCE = 40.0  # seconds for one reply; Proxmox itself gives up after 30
LARGEST = 64 * 1024 * 1024  # bytes of a reply that are read


class CannotCompare(SimulatorError):
    """The server cannot be asked; the text says why and what to do."""


@dataclass(frozen=True)
class Reply:
    """`data` and `message` of one reply; `status` 0 where none came, with the reason as message."""

    status: int
    message: str
    data: Any


class Asking:
    """One server. `fingerprint` is SHA-256 as `AA:BB:…`; without one the system's authorities, or `ca` (a file), decide."""

    def __init__(self, url: str, token: str, fingerprint: str = "", ca: str = "", pause: float = 0.0) -> None:
        """`token` is `user@realm!name=secret`; `pause` is waited between two requests, in seconds. Raises CannotCompare."""
        address = urlsplit(url if "://" in url else f"https://{url}")
        if address.scheme != "https" or not address.hostname or "!" not in token or "=" not in token:
            raise CannotCompare("give --url as https://HOST:8006 and --token as user@realm!name=secret")
        self.host, self.port = address.hostname, address.port or 8006
        self.headers = {"Authorization": f"PVEAPIToken={token}", "Accept": "application/json"}
        self.fingerprint = fingerprint.replace(":", "").lower()
        self.pause = pause
        self.context = ssl.create_default_context(cafile=ca or None)
        if self.fingerprint:  # checked below, before a request is written
            self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE

    def get(self, path: str, query: tuple[tuple[str, str], ...] = ()) -> Reply:
        """A reply. Raises CannotCompare where the certificate is not the one that was agreed upon."""
        time.sleep(self.pause)
        told = f"?{urlencode(query)}" if query else ""
        connection = http.client.HTTPSConnection(self.host, self.port, timeout=PATIENCE, context=self.context)
        try:
            connection.connect()
            self._verify(connection.sock)
            connection.request("GET", f"/api2/json{quote(path)}{told}", headers=self.headers)
            came = connection.getresponse()
            return read(came.status, came.reason, came.read(LARGEST))
        except ssl.SSLCertVerificationError as fault:
            raise CannotCompare(f"{fault}: give --fingerprint or --ca") from None
        except (OSError, http.client.HTTPException) as fault:
            return Reply(0, f"no reply: {type(fault).__name__}", None)
        finally:
            connection.close()

    def _verify(self, sock: Any) -> None:
        if self.fingerprint:
            seen = hashlib.sha256(sock.getpeercert(binary_form=True)).hexdigest()
            if seen != self.fingerprint:
                shown = ":".join(seen[at : at + 2].upper() for at in range(0, len(seen), 2))
                raise CannotCompare(f"the certificate's fingerprint is {shown}: nothing was sent")


def read(status: int, reason: str, body: bytes) -> Reply:
    """A reply from its bytes; what is no JSON is told by its message."""
    try:
        told = json.loads(body) if body else {}
    except ValueError:
        return Reply(status, "a body that is no JSON", None)
    if not isinstance(told, dict):
        return Reply(status, "a body that is no object", None)
    return Reply(status, str(told.get("message") or reason), told.get("data"))
