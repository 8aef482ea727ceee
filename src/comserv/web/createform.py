"""The form of a creation and the body of `POST /vms`, each made into the other; and how a form begins."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from starlette.datastructures import FormData

from comserv.domain.errors import Invalid
from comserv.domain.session import OwnKey
from comserv.domain.sshkey import blob_of, is_private
from comserv.domain.vmrequest import Ipv6Type, NetworkType, VmRequest
from comserv.services.another import Last
from comserv.services.vms import TemplateChoice
from comserv.web.context import text_of
from comserv.web.measures import gibibytes, mebibytes

TEXTS = (
    "server", "node", "storage", "pool", "template", "hostname", "vmid", "description", "tags", "cpu_cores", "memory_gib",
    "disk_gb", "user", "ssh_keys", "type", "ip_address", "gateway", "bridge", "vlan", "dns_servers", "search_domain",
    "ipv6", "ipv6_address", "ipv6_gateway", "agent", "full_clone", "start_on_boot", "start", "request_key",
)  # fmt: skip
KEPT_FOR_ANOTHER_SERVER = (
    "hostname", "description", "tags", "user", "ssh_keys", "ticked", "dns_servers", "search_domain", "request_key",
)  # fmt: skip
OF_TEMPLATE = ("template", "cpu_cores", "memory_gib", "disk_gb", "bridge", "user")
KEPT_FOR_ANOTHER_TEMPLATE = tuple(name for name in (*TEXTS, "ticked") if name not in OF_TEMPLATE)
_TICK = re.compile(r"ssh_key_([0-9]{1,10})")


def read(form: FormData) -> dict[str, str]:
    """Every field as text; `ticked`: ids of one's own SSH keys, parted by blanks. A private key is not shown again."""
    values = {name: text_of(form, name, 65536) for name in TEXTS}
    ticked = [found[1] for name in form if (found := _TICK.fullmatch(name))]
    return {**values, "ticked": " ".join(ticked)}


def shown(values: Mapping[str, str]) -> Mapping[str, str]:
    """As the page shows the form again."""
    return {**values, "ssh_keys": ""} if is_private(values["ssh_keys"]) else values


def begin(key: str, server: str, template: TemplateChoice | None, own: Sequence[OwnKey] = ()) -> dict[str, str]:
    """A form with the defaults filled in: what the template says, DHCP, started at the end, one's own keys."""
    values = dict.fromkeys(TEXTS, "") | {
        "server": server,
        "request_key": key,
        "type": "dhcp",
        "ipv6": "none",
        "start": "1",
        "ticked": " ".join(str(one.id) for one in own if one.offered),
    }
    if template is not None:
        values |= {
            "template": str(template.guest.key.vmid),
            "cpu_cores": "" if template.cores is None else str(template.cores),
            "memory_gib": "" if template.memory_mb is None else gibibytes(template.memory_mb),
            "disk_gb": "" if template.disk_gb is None else f"{template.disk_gb:.0f}",
            "bridge": template.bridge,
            "user": template.user,
        }
    return values


def begin_like(request: VmRequest, own: Sequence[OwnKey]) -> dict[str, str]:
    """The fields that another VM like one begins with; an empty one says "as the template"."""
    network, ipv6, cloud_init = request.network, request.network.ipv6, request.cloud_init
    blobs = {one.key.blob: one for one in own}
    mine = [blobs[blob_of(line)] for line in cloud_init.ssh_keys if blob_of(line) in blobs]
    rest = [line for line in cloud_init.ssh_keys if blob_of(line) not in blobs]
    return {
        "node": request.node,
        "storage": request.storage,
        "pool": request.pool,
        "hostname": request.hostname,
        "description": request.description,
        "tags": " ".join(request.tags),
        "cpu_cores": _text(request.cpu_cores),
        "memory_gib": gibibytes(request.memory_mb) if request.memory_mb is not None else "",
        "disk_gb": _text(request.disk_gb),
        "user": cloud_init.user,
        "ssh_keys": "\n".join(rest),
        "ticked": " ".join(str(one.id) for one in mine),
        "type": str(network.type),
        "ip_address": _with_prefix(network.ip_address, network.subnet_mask),
        "gateway": network.gateway if network.type is NetworkType.STATIC else "",
        "bridge": network.bridge,
        "vlan": _text(network.vlan),
        "dns_servers": " ".join(network.dns_servers),
        "search_domain": network.search_domain,
        "ipv6": str(ipv6.type),
        "ipv6_address": _with_prefix(ipv6.address, ipv6.prefix),
        "ipv6_gateway": ipv6.gateway if ipv6.type is Ipv6Type.STATIC else "",
        "agent": {True: "on", False: "off", None: ""}[request.enable_qemu_agent],
        "full_clone": "1" if request.full_clone else "",
        "start_on_boot": "1" if request.start_on_boot else "",
        "start": "1" if request.start_after_creation else "",
    }


def begin_last(last: Last, own: Sequence[OwnKey], same_template: bool) -> dict[str, str]:
    """The fields that a form begins with after an earlier one. What belongs to the template counts for the same one only.

    A key that was added since is ticked as its person said; one that was unticked then stays so.
    """
    values = begin_like(replace(last.request, enable_qemu_agent=None), own)
    later = [str(one.id) for one in own if one.offered and one.created > last.at]
    values["ticked"] = " ".join(dict.fromkeys([*values["ticked"].split(), *later]))
    once = {"node", "pool", "hostname", "description", "tags"}
    left = once if same_template else once | set(OF_TEMPLATE) | {"agent", "full_clone"}
    return {name: value for name, value in values.items() if name not in left and (value or name in _MAY_BE_EMPTY)}


_MAY_BE_EMPTY = ("ticked", "ssh_keys", "start", "vlan", "start_on_boot")
"""Where nothing is something that was chosen too; elsewhere an empty field is as the template has it."""


def _text(number: int | None) -> str:
    return "" if number is None else str(number)


def _with_prefix(address: str, prefix: int | None) -> str:
    return f"{address}/{prefix}" if address and prefix is not None else address


def to_request(values: Mapping[str, str], password: str, own: Sequence[OwnKey] = ()) -> dict[str, Any]:
    """The form as the body of `POST /vms`; what is empty stays away. Raises Invalid for a tick whose key is gone."""
    static, static6 = values["type"] == "static", values["ipv6"] == "static"
    address6, _, prefix6 = values["ipv6_address"].partition("/")
    network = {
        "type": values["type"],
        "ip_address": values["ip_address"] if static else "",
        "gateway": values["gateway"] if static else "",
        "bridge": values["bridge"],
        "vlan": values["vlan"],
        "dns_servers": values["dns_servers"].replace(",", " ").split(),
        "search_domain": values["search_domain"],
        "ipv6": {
            "type": values["ipv6"],
            "address": address6 if static6 else "",
            "prefix": prefix6 if static6 else "",
            "gateway": values["ipv6_gateway"] if static6 else "",
        },
    }
    return {
        "server": values["server"],
        "template": {"server": values["server"], "vmid": values["template"]},
        "hostname": values["hostname"],
        **{name: values[name] for name in ("node", "storage", "pool", "vmid", "description", "cpu_cores", "disk_gb")},
        "memory_mb": mebibytes(values["memory_gib"]),
        "tags": values["tags"].replace(",", " ").split(),
        "network": network,
        "cloud_init": {"user": values["user"], "password": password, "ssh_keys": _keys(values, own)},
        "full_clone": values["full_clone"] == "1",
        "start_after_creation": values["start"] == "1",
        "start_on_boot": values["start_on_boot"] == "1",
        "enable_qemu_agent": {"on": True, "off": False}.get(values["agent"]),
    }


def _keys(values: Mapping[str, str], own: Sequence[OwnKey]) -> list[str]:
    """Those that are ticked, then those that were typed, each once. A VM without the key that was meant lets nobody in."""
    kept = {str(one.id): one.key.text for one in own}
    ticked = values["ticked"].split()
    if not set(ticked) <= set(kept):
        said = "A key that was ticked is not among yours any more; look at the ticks again."
        raise Invalid(fields={"cloud_init.ssh_keys": said})
    lines = [kept[one] for one in ticked] + [line.strip() for line in values["ssh_keys"].splitlines() if line.strip()]
    return list({blob_of(line) or line: line for line in reversed(lines)}.values())[::-1]
