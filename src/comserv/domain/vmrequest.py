"""What a person asks for when a VM is to be made: the body of `POST /vms`, hostile JSON made into a typed value."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from comserv.domain.address import read_address, read_prefix
from comserv.domain.errors import SecretsMissing
from comserv.domain.fields import Fields
from comserv.domain.hostname import hostname_fault
from comserv.domain.sshkey import ssh_key_fault

MASK = "•••"
PASSWORD = "cloud_init.password"  # noqa: S105 - the field's name, not a password
LEAST_VMID, MOST_VMID = 100, 999_999_999
MOST_NOTES = 7000  # Proxmox takes 8192 characters of description; the marker needs some of them


class NetworkType(StrEnum):
    DHCP = "dhcp"
    STATIC = "static"


class Ipv6Type(StrEnum):
    NONE = "none"
    AUTO = "auto"
    DHCP = "dhcp"
    STATIC = "static"


@dataclass(frozen=True)
class TemplateRef:
    """The template to clone; `server` has to be the request's server, since Proxmox clones inside one server only."""

    server: str
    vmid: int


@dataclass(frozen=True)
class Ipv6:
    """address, prefix (0 to 128) and gateway only with `static`."""

    type: Ipv6Type = Ipv6Type.NONE
    address: str = ""
    prefix: int | None = None
    gateway: str = ""


@dataclass(frozen=True)
class Network:
    """subnet_mask: as prefix length (0 to 32), whichever way it was written. bridge empty, vlan None: as the template has it."""

    type: NetworkType = NetworkType.DHCP
    ip_address: str = ""
    subnet_mask: int | None = None
    gateway: str = ""
    bridge: str = ""
    vlan: int | None = None
    ipv6: Ipv6 = field(default_factory=Ipv6)
    dns_servers: tuple[str, ...] = ()
    search_domain: str = ""


@dataclass(frozen=True)
class CloudInit:
    """password: the only secret of a request; `MASK` stands for one that was asked for and is not known here."""

    user: str = ""
    password: str = field(default="", repr=False)
    ssh_keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class VmRequest:
    """memory_mb in MiB, disk_gb in GiB. None or empty: as the template has it, or chosen by the plan (node, vmid, storage).

    enable_qemu_agent None: as the template has it. tags: lower case, sorted, each once.
    """

    server: str
    hostname: str
    template: TemplateRef
    node: str = ""
    vmid: int | None = None
    description: str = ""
    cpu_cores: int | None = None
    memory_mb: int | None = None
    disk_gb: int | None = None
    full_clone: bool = False
    storage: str = ""
    pool: str = ""
    tags: tuple[str, ...] = ()
    network: Network = field(default_factory=Network)
    cloud_init: CloudInit = field(default_factory=CloudInit)
    start_after_creation: bool = True
    enable_qemu_agent: bool | None = None
    start_on_boot: bool = False

    @property
    def static_address(self) -> str:
        return self.network.ip_address if self.network.type == NetworkType.STATIC else ""

    @property
    def static_address6(self) -> str:
        return self.network.ipv6.address if self.network.ipv6.type == Ipv6Type.STATIC else ""


def parse_vm_request(mapping: object) -> VmRequest:
    """The body of `POST /vms` and `POST /vms/plan`. Raises Invalid with every fault by dotted name.

    Only what cannot be understood is a fault here. What is understood and will not do (a host name that no DNS takes, a
    static network without an address, a taken id) is a finding of the plan, where it stands beside its cure.
    """
    fields = Fields(mapping)
    request = _read(fields)
    if request.cloud_init.password == MASK:
        fields.fault(PASSWORD, "This is the mask that stands for a password; give the password itself.")
    fields.raise_faults()
    return request


def stored_vm_request(mapping: Mapping[str, Any], secrets: Mapping[str, str] | None = None) -> VmRequest:
    """A request as a job keeps it (`to_mapping`), with what is known of its secrets filled in by dotted name."""
    fields = Fields(mapping)
    request = _read(fields)
    fields.raise_faults()
    password = (secrets or {}).get(PASSWORD, "")
    if request.cloud_init.password == MASK and password:
        return replace(request, cloud_init=replace(request.cloud_init, password=password))
    return request


def secrets_of(request: VmRequest) -> dict[str, str]:
    """The secrets of a request by dotted name, for `job_secrets`."""
    password = request.cloud_init.password
    return {PASSWORD: password} if password and password != MASK else {}


def require_secrets(request: VmRequest) -> None:
    """Raises SecretsMissing naming those that were asked for and are not known here any more."""
    if request.cloud_init.password == MASK:
        raise SecretsMissing([PASSWORD])


def to_mapping(request: VmRequest, secrets: bool = False) -> dict[str, Any]:
    """The request as JSON, every field by the interface's name; a secret is `•••` unless asked for."""
    network, ipv6, cloud_init = request.network, request.network.ipv6, request.cloud_init
    password = cloud_init.password if secrets or not cloud_init.password else MASK
    return {
        "server": request.server,
        "node": request.node,
        "vmid": request.vmid,
        "hostname": request.hostname,
        "description": request.description,
        "cpu_cores": request.cpu_cores,
        "memory_mb": request.memory_mb,
        "disk_gb": request.disk_gb,
        "template": {"server": request.template.server, "vmid": request.template.vmid},
        "full_clone": request.full_clone,
        "storage": request.storage,
        "pool": request.pool,
        "tags": list(request.tags),
        "network": {
            "type": str(network.type),
            "ip_address": network.ip_address,
            "subnet_mask": network.subnet_mask,
            "gateway": network.gateway,
            "bridge": network.bridge,
            "vlan": network.vlan,
            "ipv6": {
                "type": str(ipv6.type),
                "address": ipv6.address,
                "prefix": ipv6.prefix,
                "gateway": ipv6.gateway,
            },
            "dns_servers": list(network.dns_servers),
            "search_domain": network.search_domain,
        },
        "cloud_init": {"user": cloud_init.user, "password": password, "ssh_keys": list(cloud_init.ssh_keys)},
        "start_after_creation": request.start_after_creation,
        "enable_qemu_agent": request.enable_qemu_agent,
        "start_on_boot": request.start_on_boot,
    }


def _read(fields: Fields) -> VmRequest:
    server = fields.text("server", check=_server_fault)
    if not server:
        fields.fault("server", "The server has to be named by its id.")
    start = fields.boolean("start_after_creation")
    request = VmRequest(
        server=server,
        hostname=fields.text("hostname"),
        template=_template(fields, server),
        node=fields.text("node", check=_node_fault),
        vmid=fields.integer("vmid", LEAST_VMID, MOST_VMID),
        description=fields.lines("description", most=MOST_NOTES),
        cpu_cores=fields.integer("cpu_cores", 1, 8192),
        memory_mb=fields.integer("memory_mb", 16, 4_178_944),
        disk_gb=fields.integer("disk_gb", 1, 131_072),
        full_clone=fields.boolean("full_clone") or False,
        storage=fields.text("storage", check=_storage_fault),
        pool=fields.text("pool", check=_pool_fault),
        tags=read_tags(fields, "tags") or (),
        network=_network(fields.nested("network")),
        cloud_init=_cloud_init(fields.nested("cloud_init")),
        start_after_creation=True if start is None else start,
        enable_qemu_agent=fields.boolean("enable_qemu_agent"),
        start_on_boot=fields.boolean("start_on_boot") or False,
    )
    fields.close()
    return request


def read_tags(fields: Fields, name: str) -> tuple[str, ...] | None:
    """Tags as Proxmox keeps them: lower case, each once, sorted (semantics section 7)."""
    tags = fields.texts(name, check=_tag_fault)
    return None if tags is None else tuple(sorted({tag.lower() for tag in tags}))


def _template(fields: Fields, server: str) -> TemplateRef:
    if not fields.given("template"):
        fields.fault("template", "The template has to be named by its VM id.")
    nested = fields.nested("template")
    vmid = nested.integer("vmid", LEAST_VMID, MOST_VMID)
    if vmid is None:
        nested.fault("vmid", "The template has to be named by its VM id.")
    template = TemplateRef(nested.text("server", server, check=_server_fault) or server, vmid or 0)
    nested.close()
    return template


def _network(fields: Fields) -> Network:
    kind = fields.choice("type", NetworkType, NetworkType.DHCP)
    address, prefix = _address_and_mask(fields)
    network = Network(
        type=kind,
        ip_address=address,
        subnet_mask=prefix,
        gateway=_address(fields, "gateway", 4),
        bridge=fields.text("bridge", check=_bridge_fault),
        vlan=fields.integer("vlan", 1, 4094),
        ipv6=_ipv6(fields.nested("ipv6")),
        dns_servers=fields.texts("dns_servers", check=_dns_fault, most=8) or (),
        search_domain=fields.text("search_domain", check=_domain_fault),
    )
    if kind == NetworkType.DHCP and (address or network.gateway):
        fields.fault("type", "An address or gateway is given, so the type has to be static.")
    fields.close()
    return network


def _address_and_mask(fields: Fields) -> tuple[str, int | None]:
    text = fields.text("ip_address")
    mask = fields.mask("subnet_mask")
    address, slash, prefix = text.partition("/")
    if not text:
        return "", mask
    found = read_address(address, 4)
    if found is None or (slash and read_prefix(prefix) is None):
        fields.fault("ip_address", f"{text} is not an IPv4 address.")
        return "", mask
    return str(found), mask if mask is not None else (read_prefix(prefix) if slash else None)


def _ipv6(fields: Fields) -> Ipv6:
    kind = fields.choice("type", Ipv6Type, Ipv6Type.NONE)
    ipv6 = Ipv6(kind, _address(fields, "address", 6), fields.integer("prefix", 0, 128), _address(fields, "gateway", 6))
    if kind != Ipv6Type.STATIC and (ipv6.address or ipv6.gateway):
        fields.fault("type", "An address or gateway is given, so the type has to be static.")
    fields.close()
    return ipv6


def _address(fields: Fields, name: str, version: int) -> str:
    text = fields.text(name)
    if not text:
        return ""
    address = read_address(text, version)
    if address is None:
        fields.fault(name, f"{text} is not an IPv{version} address.")
    return str(address or "")


def _cloud_init(fields: Fields) -> CloudInit:
    password = fields.secret("password")
    keys = fields.texts("ssh_keys", check=ssh_key_fault, most=64) or ()
    cloud_init = CloudInit(fields.text("user", check=_user_fault), password, keys)
    fields.close()
    return cloud_init


def _matches(pattern: str, sentence: str, text: str) -> str:
    return "" if re.fullmatch(pattern, text) else sentence


def _server_fault(text: str) -> str:
    return _matches(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?", f"{text[:40]} is not a server's id.", text)


def _node_fault(text: str) -> str:
    return _matches(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?", f"{text[:40]} is not a node's name.", text)


def _storage_fault(text: str) -> str:
    return _matches(r"[A-Za-z][A-Za-z0-9._-]*[A-Za-z0-9]", f"{text[:40]} is not a storage's name.", text)


def _pool_fault(text: str) -> str:
    return _matches(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+){0,2}", f"{text[:40]} is not a pool's name.", text)


def _bridge_fault(text: str) -> str:
    return _matches(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}", f"{text[:40]} is not a bridge's name.", text)


def _tag_fault(text: str) -> str:
    sentence = f"The tag {text[:40]} may hold letters, digits, _ - + and dots, and begins with a letter, a digit or _."
    return _matches(r"[A-Za-z0-9_][A-Za-z0-9_+.-]{0,63}", sentence, text)


def _dns_fault(text: str) -> str:
    return "" if read_address(text, 4) or read_address(text, 6) else f"{text[:40]} is not an IP address."


def _domain_fault(text: str) -> str:
    return hostname_fault(text) and f"{text[:40]} is not a DNS domain."


def _user_fault(text: str) -> str:
    return _matches(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?", f"{text[:40]} is not a user's name on Linux.", text)
