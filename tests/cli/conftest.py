"""The command line as a person's shell runs it: a process of its own."""

from collections.abc import Callable, Iterator

import pytest

from tests.processes import Ended, Running, comserv_running, run_comserv, simulator


@pytest.fixture
def comserv() -> Callable[..., Ended]:
    return run_comserv


@pytest.fixture(scope="module")
def estate() -> Iterator[dict]:
    """A simulated Proxmox VE that takes a tenth of the time."""
    with simulator("--speed", "10", "--guests", "6", "--templates", "2") as told:
        yield told


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with comserv_running(tmp_path_factory.mktemp("comserv")) as found:
        yield found
