"""What an endpoint gets, and how endpoints are found."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from pve_simulator import versions
from pve_simulator.authentication import Identity
from pve_simulator.errors import ApiError
from pve_simulator.permissions import ROOT, Permissions
from pve_simulator.tasks import Worker
from pve_simulator.versions import Version
from pve_simulator.world.estate import Estate
from pve_simulator.world.guest import Guest
from pve_simulator.world.node import Node

if TYPE_CHECKING:
    from pve_simulator.server import Server

Handler = Callable[["Call"], Awaitable[Any]]
ENDPOINTS: dict[tuple[str, str], Handler] = {}


def endpoint(method: str, template: str) -> Callable[[Handler], Handler]:
    """Registers an endpoint under the description's path template, e.g. `("GET", "/nodes/{node}/qemu")`."""

    def register(handler: Handler) -> Handler:
        if (method, template) in ENDPOINTS:
            raise ValueError(f"{method} {template} has two endpoints")
        ENDPOINTS[method, template] = handler
        return handler

    return register


class Call:
    """One verified call. Parameters are typed (int, bool, float, str, list); `sent` has them as they came."""

    def __init__(
        self,
        server: Server,
        method: str,
        path: str,
        identity: Identity,
        parameters: dict[str, Any],
        sent: dict[str, Any],
        entry: str = "",
    ) -> None:
        self.server = server
        self.entry = server.estate.nodes.get(entry) or server.estate.entry  # whose address the client asked
        self.method = method
        self.path = path
        self.identity = identity
        self.parameters = parameters
        self.sent = sent
        self.extra: dict[str, Any] = {}  # further top-level keys of the reply: total, changes
        self.files: dict[str, bytes] = {}  # an uploaded file by its name
        self.headers: dict[str, str] = {}  # of the request, names in lower case
        self.permissions = Permissions(server.estate)
        self.by_manager = False  # asked by the high availability managers, which need not ask themselves

    @property
    def estate(self) -> Estate:
        """The world."""
        return self.server.estate

    @property
    def user(self) -> str:
        """Who asks: `user@realm` or `user@realm!token`."""
        return self.identity.user

    @property
    def version(self) -> Version:
        """The version of the node that carries the call out."""
        return versions.of(self.node)

    @property
    def is_root(self) -> bool:
        """Exactly root@pam: a token of root is not root."""
        return self.user == ROOT

    @property
    def node(self) -> Node:
        """The node of the path (`localhost` is the entry node); the entry node where the path names none."""
        name = self.parameters.get("node", "localhost")
        return self.entry if name == "localhost" else self.estate.nodes[name]

    def __contains__(self, name: str) -> bool:
        return name in self.parameters

    def __getitem__(self, name: str) -> Any:
        return self.parameters[name]

    def get(self, name: str, default: Any = None) -> Any:
        """A parameter, or the default where it was not sent."""
        return self.parameters.get(name, default)

    def guest(self, kind: str = "qemu") -> Guest:
        """The guest of the path on the node of the path; raises ApiError 500 where it is not."""
        return self.estate.guest(self["vmid"], kind, self.node.name)

    def may(self, path: str, *privileges: str, any_of: bool = False) -> bool:
        """Whether the caller has all (`any_of`: one) of the privileges on an access path."""
        return self.permissions.may(self.user, path, *privileges, any_of=any_of)

    def check(self, path: str, *privileges: str, any_of: bool = False) -> None:
        """Raises PermissionDenied where the caller has them not."""
        self.permissions.check(self.user, path, *privileges, any_of=any_of)

    def check_digest(self, guest: Guest) -> None:
        """Raises ApiError 500 where a `digest` was sent that is not the guest's."""
        if "digest" in self and self["digest"] != guest.digest():
            raise ApiError(500, "checksum mismatch (file change by other user?)")

    def task(self, kind: str, name: str | int, worker: Worker, node: Node | None = None) -> str:
        """Begins a task on the call's node and gives its UPID."""
        return self.server.tasks.start(node or self.node, kind, str(name), self.user, worker)


async def as_root(
    server: Server, method: str, template: str, guest: Guest, by_manager: bool = False, **values: Any
) -> Any:
    """Carries out a call about a guest as Proxmox's own daemons do: in root's name, past the HTTP server.

    Raises what the endpoint raises, and ApiError 501 where there is none.
    """
    handler = ENDPOINTS.get((method, template))
    if handler is None:
        raise ApiError(501, f"{method} {template} is not simulated")
    told = {"node": guest.node, "vmid": guest.vmid, **values}
    call = Call(server, method, template, Identity(ROOT), told, dict(told), guest.node)
    call.by_manager = by_manager
    return await handler(call)
