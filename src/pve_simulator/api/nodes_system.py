"""What a node tells of its system: capabilities, services, packages, certificates, logs."""

from __future__ import annotations

import base64
import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from pve_simulator.call import Call, endpoint
from pve_simulator.tables import rows
from pve_simulator.tasks import Run
from pve_simulator.versions import RELEASES

SERVICES = {
    "chrony": "chrony, an NTP client/server",
    "corosync": "Corosync Cluster Engine",
    "cron": "Regular background program processing daemon",
    "postfix": "Postfix Mail Transport Agent (main/default instance)",
    "proxmox-firewall": "Proxmox nftables firewall",
    "pve-cluster": "The Proxmox VE cluster filesystem",
    "pve-firewall": "Proxmox VE firewall",
    "pve-ha-crm": "PVE Cluster HA Resource Manager Daemon",
    "pve-ha-lrm": "PVE Local HA Resource Manager Daemon",
    "pvedaemon": "PVE API Daemon",
    "pvefw-logger": "Proxmox VE firewall logger",
    "pveproxy": "PVE API Proxy Server",
    "pvescheduler": "Proxmox VE scheduler",
    "pvestatd": "PVE Status Daemon",
    "qmeventd": "PVE Qemu Event Daemon",
    "spiceproxy": "PVE SPICE Proxy Server",
    "sshd": "OpenBSD Secure Shell server",
    "syslog": "syslog.service",
    "systemd-journald": "Journal Service",
    "systemd-timesyncd": "Network Time Synchronization",
}
PACKAGES = {
    "proxmox-ve": "9.1.0",
    "pve-manager": RELEASES["9.1"][0],
    "proxmox-kernel-6.17": "6.17.4-2",
    "qemu-server": "9.1.3",
    "pve-qemu-kvm": "10.1.2-5",
    "libpve-storage-perl": "9.1.0",
    "pve-container": "6.0.18",
}
TEMPLATES = (  # package, version, file, operating system
    ("alpine-3.22-default", "20250617", "alpine-3.22-default_20250617_amd64.tar.xz", "alpine"),
    ("debian-12-standard", "12.12-1", "debian-12-standard_12.12-1_amd64.tar.zst", "debian-12"),
    ("debian-13-standard", "13.1-2", "debian-13-standard_13.1-2_amd64.tar.zst", "debian-13"),
    ("fedora-43-default", "20260115", "fedora-43-default_20260115_amd64.tar.xz", "fedora"),
    ("ubuntu-24.04-standard", "24.04-2", "ubuntu-24.04-standard_24.04-2_amd64.tar.zst", "ubuntu-24.04"),
)
# A PNG of one pixel: rrd graphs are told as text in which every character is a byte.
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
BACKUP_DEFAULTS: dict[str, Any] = {
    "all": 0,
    "bwlimit": 0,
    "compress": "0",
    "dumpdir": "/var/lib/vz/dump",
    "fleecing": {"enabled": 0},
    "ionice": 7,
    "lockwait": 180,
    "mailnotification": "always",
    "mode": "snapshot",
    "notification-mode": "auto",
    "performance": {"max-workers": 16, "pbs-entries-max": 1048576},
    "pigz": 0,
    "prune-backups": "keep-all=1",
    "quiet": 0,
    "remove": 1,
    "stdexcludes": 1,
    "stop": 0,
    "stopwait": 10,
    "storage": "local",
    "zstd": 1,
}


@endpoint("GET", "/nodes/{node}/capabilities/qemu/cpu")
async def cpu_models(call: Call) -> list[dict[str, Any]]:
    return [{**row, "custom": 0} for row in rows("cpu-models")]


@endpoint("GET", "/nodes/{node}/capabilities/qemu/cpu-flags")
async def cpu_flags(call: Call) -> list[dict[str, Any]]:
    return rows("cpu-flags")


@endpoint("GET", "/nodes/{node}/capabilities/qemu/machines")
async def machines(call: Call) -> list[dict[str, Any]]:
    return rows("machines")


@endpoint("GET", "/nodes/{node}/capabilities/qemu/migration")
async def migration(call: Call) -> dict[str, Any]:
    from pve_simulator.replies import JSON_FALSE

    return {"has-dbus-vmstate": JSON_FALSE}


@endpoint("GET", "/nodes/{node}/rrd")
async def graph(call: Call) -> dict[str, str]:
    return graph_of(f"pve-node-9.0/{call.node.name}", call["ds"])


def graph_of(database: str, sources: str) -> dict[str, str]:
    """A graph's file and its bytes; what it shows is the same for all."""
    file = f"/var/lib/rrdcached/db/{database}_{sources.replace(',', '_')}.png"
    return {"filename": file, "image": PIXEL.decode("latin-1")}


@endpoint("GET", "/nodes/{node}/vzdump/defaults")
async def backup_defaults(call: Call) -> dict[str, Any]:
    return BACKUP_DEFAULTS | ({"storage": call["storage"]} if "storage" in call else {})


@endpoint("GET", "/nodes/{node}/services")
async def services(call: Call) -> list[dict[str, str]]:
    return [service(call, name) for name in SERVICES]


def service(call: Call, name: str) -> dict[str, str]:
    """One service: corosync runs in a cluster only, a single node has no time server of systemd's."""
    runs = name not in ("corosync", "systemd-timesyncd", "syslog") or (name == "corosync" and call.estate.cluster)
    state, active = ("running", "active") if runs else ("dead", "inactive")
    return {
        "name": name,
        "service": name,
        "desc": SERVICES[name],
        "state": state,
        "active-state": active,
        "unit-state": "enabled" if runs else "disabled",
    }


@endpoint("GET", "/nodes/{node}/services/{service}/state")
async def service_state(call: Call) -> dict[str, str]:
    return service(call, call["service"])


@endpoint("GET", "/nodes/{node}/services/{service}")
async def service_index(call: Call) -> list[dict[str, str]]:
    return [{"subdir": name} for name in ("state", "start", "stop", "restart", "reload")]


def act_on_services(verb: str) -> None:
    """A task `srv...`: the services themselves stay as they are."""

    async def act(call: Call) -> str:
        async def work(run: Run) -> None:
            await run.sleep(1.0)

        return call.task(f"srv{verb}", call["service"], work)

    endpoint("POST", f"/nodes/{{node}}/services/{{service}}/{verb}")(act)


for _verb in ("start", "stop", "restart", "reload"):
    act_on_services(_verb)


@endpoint("POST", "/nodes/{node}/apt/update")
async def refresh_packages(call: Call) -> str:
    async def work(run: Run) -> None:
        run.log("starting apt-get update")
        await run.sleep(2.0)
        run.log("Reading package lists...")

    return call.task("aptupdate", "", work)


@endpoint("GET", "/nodes/{node}/apt/versions")
async def packages(call: Call) -> list[dict[str, str]]:
    common = {"Arch": "amd64", "Origin": "Proxmox", "CurrentState": "Installed", "Priority": "optional"}
    return [
        {"Package": name, "Version": version, "OldVersion": version, **common} for name, version in PACKAGES.items()
    ]


@endpoint("GET", "/nodes/{node}/subscription")
async def subscription(call: Call) -> dict[str, str]:
    url = "https://www.proxmox.com/en/proxmox-virtual-environment/pricing"
    return {"status": "notfound", "message": "There is no subscription key", "serverid": "0" * 32, "url": url}


@endpoint("GET", "/nodes/{node}/certificates/info")
async def certificates(call: Call) -> list[dict[str, Any]]:
    """The cluster's authority, and what the node shows."""
    held = call.server.certificates_of(call.node.name)
    shown = certificate_row("pve-ssl.pem", held.certificate)
    return [
        certificate_row("pve-root-ca.pem", held.authority),
        shown | {"san": ["localhost", "127.0.0.1", "::1"]},
    ]


def certificate_row(filename: str, certificate: x509.Certificate) -> dict[str, Any]:
    key = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return {
        "filename": filename,
        "fingerprint": certificate.fingerprint(hashes.SHA256()).hex(":").upper(),
        "issuer": f"/{certificate.issuer.rfc4514_string().replace(',', '/')}",
        "subject": f"/{certificate.subject.rfc4514_string().replace(',', '/')}",
        "notbefore": int(certificate.not_valid_before_utc.timestamp()),
        "notafter": int(certificate.not_valid_after_utc.timestamp()),
        "pem": certificate.public_bytes(serialization.Encoding.PEM).decode(),
        "public-key-bits": len(key) * 8,
        "public-key-type": "id-ecPublicKey",
        "san": [],
    }


@endpoint("GET", "/nodes/{node}/disks/list")
async def disks(call: Call) -> list[dict[str, Any]]:
    """Two disks: one for the system, one for guests."""
    node = call.node
    told = {"health": "PASSED", "type": "nvme", "vendor": "unknown", "gpt": 1, "wearout": 98, "rpm": 0}
    sizes = (("/dev/nvme0n1", node.disk, "LVM"), ("/dev/nvme1n1", 4 * node.disk, "LVM"))
    return [
        {
            "devpath": path,
            "size": size,
            "used": used,
            "model": "SIMULATED SSD",
            "serial": f"{node.name}-{number}",
            **told,
        }
        for number, (path, size, used) in enumerate(sizes)
    ]


@endpoint("GET", "/nodes/{node}/syslog")
async def syslog(call: Call) -> list[dict[str, Any]]:
    """Lines about the tasks of the node, oldest first."""
    lines = log_lines(call)
    call.extra["total"] = len(lines)
    start = call.get("start", 0)
    return [{"n": start + number, "t": line} for number, line in enumerate(lines[start:][: call.get("limit", 50)], 1)]


@endpoint("GET", "/nodes/{node}/journal")
async def journal(call: Call) -> list[str]:
    return log_lines(call)[-call.get("lastentries", 500) :]


def log_lines(call: Call) -> list[str]:
    """The system's log: what tasks began and ended."""
    lines: list[tuple[int, str]] = []
    for task in call.estate.tasks.values():
        if task.node == call.node.name:
            lines.append((task.starttime, f"<{task.user}> starting task {task.upid}"))
            if task.endtime is not None:
                lines.append((task.endtime, f"<{task.user}> end task {task.upid} {task.exitstatus}"))
    lines.sort(key=lambda line: line[0])
    spelled = "%b %d %H:%M:%S"
    return [
        f"{datetime.datetime.fromtimestamp(time, datetime.UTC):{spelled}} {call.node.name} pvedaemon[900]: {text}"
        for time, text in lines
    ]


@endpoint("GET", "/nodes/{node}/report")
async def report(call: Call) -> str:
    lines = [f"hostname: {call.node.name}", "", f"pveversion: pve-manager/{call.version.told['version']}"]
    return "\n".join([*lines, *(f"{name}: {version}" for name, version in PACKAGES.items()), ""])


@endpoint("GET", "/nodes/{node}/aplinfo")
async def appliances(call: Call) -> list[dict[str, str]]:
    """Container templates to be had."""
    return [
        {
            "package": package,
            "version": version,
            "template": file,
            "os": system,
            "architecture": "amd64",
            "description": "",
            "headline": f"LXC image {package}",
            "infopage": "https://linuxcontainers.org",
            "location": f"http://download.proxmox.com/images/system/{file}",
            "maintainer": "Proxmox Support Team <support@proxmox.com>",
            "md5sum": f"{number:032x}",
            "section": "system",
            "sha512sum": f"{number:0128x}",
            "source": "http://download.proxmox.com/images",
            "type": "lxc",
        }
        for number, (package, version, file, system) in enumerate(TEMPLATES, 1)
    ]
