"""What a VM is asked for with, and what a server offers for it."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from comserv.api.shapes.server import Node, Storage
from comserv.domain import vmrequest as domain
from comserv.domain.vmrequest import LEAST_VMID, MOST_VMID, Ipv6Type, NetworkType
from comserv.services.vms import Choices, TemplateChoice

VmidField = Annotated[int, Meta(ge=LEAST_VMID, le=MOST_VMID)]


class TemplateRef(Struct):
    """The template to clone, on the same server."""

    vmid: VmidField
    server: str | None = None


class Ipv6(Struct):
    """address, prefix and gateway only with `static`."""

    type: Ipv6Type = Ipv6Type.NONE
    address: str | None = None
    prefix: Annotated[int, Meta(ge=0, le=128)] | None = None
    gateway: str | None = None


class Network(Struct):
    """ip_address, subnet_mask (`24` or `255.255.255.0`) and gateway only with `static`. bridge, vlan: else as the template."""

    type: NetworkType = NetworkType.DHCP
    ip_address: str | None = None
    subnet_mask: int | str | None = None
    gateway: str | None = None
    bridge: str | None = None
    vlan: Annotated[int, Meta(ge=1, le=4094)] | None = None
    ipv6: Ipv6 | None = None
    dns_servers: list[str] | None = None
    search_domain: str | None = None


class CloudInit(Struct):
    """password is a secret: it is used once, and never told again."""

    user: str | None = None
    password: Annotated[str, Meta(extra_json_schema={"writeOnly": True, "format": "password"})] | None = None
    ssh_keys: list[str] | None = None


class VmRequest(Struct):
    """A VM from a template. Left away: as the template has it (CPU, memory, disk, agent), or chosen by the plan (node,
    vmid, storage). memory_mb in MiB, disk_gb in GiB. full_clone: else linked where the storage can.
    """

    server: str
    hostname: str
    template: TemplateRef
    node: str | None = None
    vmid: VmidField | None = None
    description: str | None = None
    cpu_cores: Annotated[int, Meta(ge=1, le=8192)] | None = None
    memory_mb: Annotated[int, Meta(ge=16, le=4_178_944)] | None = None
    disk_gb: Annotated[int, Meta(ge=1, le=131_072)] | None = None
    full_clone: bool | None = False
    storage: str | None = None
    pool: str | None = None
    tags: list[str] | None = None
    network: Network | None = None
    cloud_init: CloudInit | None = None
    start_after_creation: bool | None = True
    enable_qemu_agent: bool | None = None
    start_on_boot: bool | None = False


class CloudInitDraft(Struct):
    """Without a password: that is never told."""

    user: str | None = None
    ssh_keys: list[str] | None = None


class VmDraft(VmRequest):
    """A body for `POST /vms`, to be completed: no password in it, and no template where nobody knows which it was."""

    cloud_init: CloudInitDraft | None = None  # pyright: ignore[reportIncompatibleVariableOverride] # a draft lacks the password
    template: TemplateRef | None = None  # pyright: ignore[reportIncompatibleVariableOverride] # a draft may lack it

    @classmethod
    def of(cls, request: domain.VmRequest) -> "VmDraft":
        values: dict[str, Any] = domain.to_mapping(request)
        del values["cloud_init"]["password"]
        if not request.template.vmid:
            values["template"] = None
        return msgspec.convert(_without_empty(values), cls)


def _without_empty(values: dict[str, Any]) -> dict[str, Any]:
    """An empty text is a field that was not given."""
    inner = {name: _without_empty(value) if isinstance(value, dict) else value for name, value in values.items()}
    return {
        name: None if value == "" and name not in ("hostname", "server") else value for name, value in inner.items()
    }


EXAMPLES = {
    "as the template": {"server": "rack", "hostname": "web-01", "template": {"server": "rack", "vmid": 9000}},
    "static address": {
        "server": "rack",
        "hostname": "web-01",
        "template": {"server": "rack", "vmid": 9000},
        "cpu_cores": 2,
        "memory_mb": 2048,
        "disk_gb": 20,
        "tags": ["web"],
        "network": {
            "type": "static",
            "ip_address": "10.20.30.41",
            "subnet_mask": 24,
            "gateway": "10.20.30.1",
            "bridge": "vmbr0",
            "dns_servers": ["10.20.30.1"],
        },
        "cloud_init": {"user": "debian", "ssh_keys": []},
    },
}


class TemplateOffer(Struct):
    """A template with what its configuration says; memory_mb in MiB, disk_gb in GiB, null where it could not be read."""

    server: str
    vmid: int
    name: str
    node: str
    cores: int | None
    memory_mb: int | None
    disk_gb: float | None
    cloud_init: bool | None
    agent: bool | None
    bridge: str | None

    @classmethod
    def of(cls, choice: TemplateChoice) -> "TemplateOffer":
        return cls(
            server=choice.guest.key.server,
            vmid=choice.guest.key.vmid,
            name=choice.guest.name,
            node=choice.guest.node,
            cores=choice.cores,
            memory_mb=choice.memory_mb,
            disk_gb=choice.disk_gb,
            cloud_init=choice.cloud_init,
            agent=choice.agent,
            bridge=choice.bridge or None,
        )


class VmChoices(Struct):
    """What one server offers. bridges: by node; vmid: the next free one; problem: what could not be learnt, in words."""

    server: str
    templates: list[TemplateOffer]
    nodes: list[Node]
    storages: list[Storage]
    bridges: dict[str, list[str]]
    pools: list[str]
    vmid: int | None
    problem: str

    @classmethod
    def of(cls, choices: Choices) -> "VmChoices":
        return cls(
            server=choices.server,
            templates=[TemplateOffer.of(choice) for choice in choices.templates],
            nodes=[Node.of(node) for node in choices.nodes],
            storages=[Storage.of(storage) for storage in choices.storages],
            bridges={node: list(names) for node, names in choices.bridges.items()},
            pools=list(choices.pools),
            vmid=choices.vmid,
            problem=choices.problem,
        )
