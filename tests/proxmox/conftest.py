"""What the client's tests share: certificates, and servers to speak to."""

from collections.abc import Callable
from pathlib import Path

import pytest

from comserv.domain.server import Server, Tls, TlsMode, TokenId
from comserv.proxmox.client import Client
from comserv.proxmox.connections import Timeouts
from tests.proxmox.certificates import Authority, Certificate
from tests.proxmox.scripted import Answer, Scripted

SECRET = "11111111-2222-3333-4444-555555555555"
TOKEN = TokenId("comserv", "pve", "manager")
QUICK = Timeouts(connect=1.0, read=0.4, whole=2.0)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def certificate(authority: Authority) -> Certificate:
    return authority.issue()


@pytest.fixture
def scripted(certificate: Certificate) -> Callable[..., Scripted]:
    """`scripted(answer, …)`: a server over TLS, to be entered with `async with`."""
    return lambda *answers, **routes: Scripted(list[Answer](answers), routes.get("routes", {}), certificate.context())


@pytest.fixture
def server_at(certificate: Certificate) -> Callable[..., Server]:
    """The server to be registered for scripted ones, whose certificate was accepted for each address."""

    def make(*addresses: str, tls: Tls | None = None) -> Server:
        pins = dict.fromkeys(addresses, certificate.fingerprint)
        return Server("lab", "Lab", addresses, TOKEN, tls or Tls(TlsMode.FINGERPRINT, fingerprints=pins))

    return make


@pytest.fixture
def client_at(server_at: Callable[..., Server]) -> Callable[..., Client]:
    """`client_at(scripted.address)`: a client of it with short timeouts, to be entered with `async with`."""

    def make(*addresses: str, tls: Tls | None = None, timeouts: Timeouts = QUICK) -> Client:
        return Client(server_at(*addresses, tls=tls), SECRET, timeouts)

    return make


@pytest.fixture
def file_of(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        (tmp_path / "file.pem").write_text(text)
        return tmp_path / "file.pem"

    return write
