"""pveproxy of a node: the port at which it answers, and the certificate that it shows there."""

from __future__ import annotations

from pve_simulator.tls import Certificates


class Proxy:
    """One address. Without a `node` it is one for the whole server, which the first node answers."""

    def __init__(self, certificates: Certificates, node: str | None = None) -> None:
        self.node = node
        self.certificates = certificates
        self.context = certificates.context()
        self.generation = 0  # raised by a new certificate: kept connections then end
        self.port = 0

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return f"https://127.0.0.1:{self.port}"

    def renew(self) -> None:
        """A new certificate from now on, as after `pvenode cert` or `pvecm updatecerts`."""
        self.certificates.renew()
        self.context = self.certificates.context()
        self.generation += 1
