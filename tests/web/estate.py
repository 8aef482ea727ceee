"""A small estate in all its moods, as services would tell it: for pages that are rendered without servers and databases."""
# ruff: noqa: E501 - rows of sample data

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from comserv.domain.attention import Attention
from comserv.domain.audit import AuditEntry, Outcome
from comserv.domain.certificate import NodeCertificate
from comserv.domain.cluster import Version
from comserv.domain.connection import CertificateSeen, Stage, StageName, StageState
from comserv.domain.doctor import examine
from comserv.domain.errors import Problem, ProxmoxSaid
from comserv.domain.gentleness import PACES, Gentleness
from comserv.domain.guest import (
    AddressSource,
    AgentAddress,
    AgentReport,
    Guest,
    GuestConfig,
    GuestKey,
    GuestState,
    GuestStatus,
    GuestType,
    KnownAddress,
    PendingChange,
)
from comserv.domain.job import CallRecord, Job, JobKind, JobState, Step, StepState, Waiting, WaitReason
from comserv.domain.load import Load, Purpose, SlowCall
from comserv.domain.outage import coverage
from comserv.domain.person import Actor, Person, Role
from comserv.domain.picture import Health, Node, Picture, Storage
from comserv.domain.plan import Finding, Level, NodeChoice, Placement, Plan, PlannedCall
from comserv.domain.power import PowerFacts, possible_actions
from comserv.domain.pveum import needed_privileges
from comserv.domain.rights import Rights, RightsSeen
from comserv.domain.server import Server, ServerState, Tls, TlsMode, TokenId
from comserv.domain.session import OwnKey
from comserv.domain.sshkey import read_ssh_key
from comserv.domain.standing import AddressTrouble, KeptCertificate
from comserv.domain.task import TaskRow, parse_upid
from comserv.domain.tokennotes import token_notes
from comserv.domain.trust import (
    CertificateReview,
    ChangedCertificate,
    OfferedAddress,
    OfferedCa,
    Offers,
    compare_command,
    differences,
    judge_change,
)
from comserv.domain.vmrequest import CloudInit, Network, NetworkType, TemplateRef, VmRequest
from comserv.services.another import Last, Like
from comserv.services.doctor import DoctorReport
from comserv.services.guests import Deletion, GuestLive, GuestView
from comserv.services.load import LoadView
from comserv.services.overview import Counts, Summary
from comserv.services.people import ApiTokenView, SessionView
from comserv.services.servers import LastTest, ServerView
from comserv.services.vms import Choices, TemplateChoice
from tests.domain.test_sshkey import ED25519, RSA

NOW = datetime.now(UTC).replace(microsecond=0)
GIB, MIB = 1 << 30, 1 << 20
PIN = ":".join(["7C", "1E", "95", "0A", "4B", "F2", "D8", "33"] * 4)


def ago(**length: float) -> datetime:
    return NOW - timedelta(**length)


ADMIN = Person(1, "admin", Role.ADMIN, created_at=ago(days=40), last_seen=ago(seconds=5))
PEOPLE = (
    ADMIN,
    Person(2, "mara", Role.OPERATOR, created_at=ago(days=20), last_seen=ago(hours=3)),
    Person(3, "otto", Role.VIEWER, disabled=True, created_at=ago(days=3)),
)


def actor(role: Role = Role.ADMIN) -> Actor:
    return Actor("admin", role, "page", 1, "req-1", "127.0.0.1")


def guest(server: str, vmid: int, name: str, node: str, status: str = "running", **more: object) -> Guest:
    running = status == "running"
    values = {
        "key": GuestKey(server, vmid),
        "type": GuestType.QEMU,
        "node": node,
        "name": name,
        "status": GuestStatus(status),
        "cores": 4.0,
        "cpu": 0.34 if running else 0.0,
        "memory": 4 * GIB,
        "memory_used": int(1.9 * GIB) if running else 0,
        "disk": 40 * GIB,
        "uptime": 12 * 86400 if running else 0,
    }
    return Guest(**(values | more))  # pyright: ignore[reportArgumentType]


def known(key: GuestKey, address: str, source: AddressSource = AddressSource.AGENT) -> KnownAddress:
    return KnownAddress(key, address, source, ago(seconds=40))


def view(guest: Guest, *addresses: str, stale: bool = False, **more: object) -> GuestView:
    found = tuple(known(guest.key, address) for address in addresses)
    return GuestView(guest, ago(minutes=14) if stale else ago(seconds=4), stale, found, **more)  # pyright: ignore[reportArgumentType]


def steps(*states: str) -> tuple[Step, ...]:
    names = ("reserve", "clone", "configure", "grow", "start", "prove")
    texts = (
        "Reserve VM id 133 and 10.20.0.33",
        "Clone tpl-debian-12 to 133",
        "Configure",
        "Grow scsi0 to 40 GiB",
        "Start",
        "Prove",
    )
    return tuple(
        Step(
            name,
            StepState(state),
            text,
            ago(seconds=31) if state != "waiting" else None,
            ago(seconds=30) if state in ("done", "failed") else None,
        )
        for name, text, state in zip(names, texts, states, strict=True)
    )


UPID = "UPID:pve2:0014E2B1:1F00A9C2:6B0A41D3:qmclone:9012:comserv@pve!manager:"
LOG = (
    "create full clone of drive efidisk0 (local-zfs:base-9012-disk-0)",
    "transferred 498.1 MiB of 2.4 GiB (20.27%)",
    "transferred 1.5 GiB of 2.4 GiB (62.14%)",
)
REQUEST = {
    "server": "lab",
    "hostname": "web-01",
    "cpu_cores": 4,
    "memory_mb": 8192,
    "template": {"server": "lab", "vmid": 9012},
    "network": {"type": "static", "ip_address": "10.20.0.33", "subnet_mask": 24, "gateway": "10.20.0.1", "vlan": None},
    "cloud_init": {
        "user": "debian",
        "password": "•••",
        "ssh_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIexample you@desk" * 2],
    },
    "start_after_creation": True,
}
RUNNING = Job(
    "0d7k3v9a1x4q2m7t", JobKind.CREATE_VM, JobState.RUNNING, "Create web-01", "lab", 133, "pve2", "admin", "page",
    ago(seconds=31), ago(seconds=31), request=REQUEST,
    steps=tuple(
        replace(step, percent=62.1, log=LOG, upid=UPID) if step.name == "clone" else step
        for step in steps("done", "running", "waiting", "waiting", "waiting", "waiting")
    ),
)  # fmt: skip
FAILED = replace(
    RUNNING,
    id="0d7k3v9a1x4q2m80",
    title="Create db-replica-02",
    state=JobState.FAILED,
    server="rack",
    node="rack-b",
    vmid=412,
    requested_by="mara",
    via="api",
    created=ago(minutes=22),
    started=ago(minutes=22),
    ended=ago(minutes=21),
    error=Problem(
        "task_failed",
        "The clone failed on rack-b.",
        "The storage local-lvm has too little free space for the disk.",
        "Use another storage, or free 53 GiB on local-lvm; then try again.",
        ProxmoxSaid(
            500, "clone failed: lvcreate 'pve/vm-412-disk-0' error: Volume group \"pve\" has insufficient free space."
        ),
    ),
    steps=tuple(
        replace(step, log=(*LOG[:1], "TASK ERROR: clone failed: lvcreate error"), upid=UPID)
        if step.name == "clone"
        else step
        for step in steps("done", "failed", "waiting", "waiting", "waiting", "waiting")
    ),
)
DONE = replace(
    RUNNING, id="0d7k3v9a1x4q2m81", title="Create web-02", state=JobState.SUCCEEDED, ended=ago(minutes=3), started=ago(minutes=4),
    created=ago(minutes=4), result={"vmid": 134, "node": "pve2", "addresses": ["10.20.0.34"]}, vmid=134,
    warnings=("The agent reports 10.20.0.35, not 10.20.0.34.",), steps=steps("done", "done", "done", "done", "done", "done"),
)  # fmt: skip
LOOKING = replace(
    RUNNING,
    id="0d7k3v9a1x4q2m82",
    title="Create app-07",
    waiting=Waiting(
        WaitReason.OUTCOME_UNKNOWN, ago(seconds=12), text="The reply was lost after 30 s. Looking for the task on pve2."
    ),
)
HELD = replace(
    RUNNING, id="0d7k3v9a1x4q2m83", kind=JobKind.POWER, title="Start gw-01", server="branch", state=JobState.QUEUED, vmid=101,
    waiting=Waiting(WaitReason.SERVER_DOWN, ago(minutes=9), text="branch does not answer; it is tried again in 30 s."), steps=(),
    request={"action": "start"},
)  # fmt: skip
CANCELLED = replace(
    RUNNING, id="0d7k3v9a1x4q2m84", kind=JobKind.DELETE_GUEST, title="Delete old-01", state=JobState.CANCELLED,
    ended=ago(hours=1), cancel_requested=True, steps=(Step("delete", StepState.SKIPPED),), request={},
)  # fmt: skip
JOBS = (RUNNING, FAILED, DONE, LOOKING, HELD, CANCELLED)
CALLS = (
    CallRecord(ago(seconds=31), "GET", "/cluster/resources", {}, 200, 12.4),
    CallRecord(ago(seconds=30), "POST", "/nodes/pve2/qemu/9012/clone", {"newid": "133", "name": "web-01", "full": "1"}, 200, 96, UPID),
    *(CallRecord(ago(seconds=30 - n), "GET", "/nodes/pve2/tasks/UPID:pve2:0014E2B1/status", {}, 200, 4) for n in range(11)),
    CallRecord(ago(seconds=2), "GET", "/nodes/pve2/qemu/133/agent/network-get-interfaces", {}, 500, 9, reply="QEMU guest agent is not running"),
    CallRecord(ago(seconds=1), "POST", "/nodes/pve2/qemu/133/config", {"cores": "4"}, None, 30000),
)  # fmt: skip

LONG = "nordwind-erp-application-server-prod-001"
WEB = guest("lab", 131, "shop-01", "pve1", tags=("prod", "web"), pool="web-team")
GUESTS = (
    view(WEB, "10.20.0.31", "2001:db8:20::31", "172.18.0.1"),
    view(guest("lab", 132, "shop-02", "pve1", tags=("prod", "web")), "10.20.0.32"),
    view(guest("lab", 133, "web-01", "pve1", "stopped"), job=RUNNING),
    view(guest("lab", 135, "shop-03", "pve1", "stopped", tags=("prod", "web")), ours={"status": "stopped"}),
    view(
        guest("rack", 203, "db-01", "rack-a", tags=("prod", "db"), cpu=0.88, memory_used=int(3.8 * GIB)), "10.10.0.11"
    ),
    view(guest("rack", 411, "db-replica-01", "rack-b", lock="backup", tags=("prod", "db"))),
    view(guest("rack", 119, "mail-relay", "rack-c", "paused")),
    view(guest("rack", 340, LONG, "rack-b", tags=("prod", "erp", "db", "edge", "dev"))),
    view(guest("rack", 500, "ct-dns", "rack-a", type=GuestType.LXC), "10.10.0.53"),
    view(guest("rack", 612, "", "rack-a", "stopped")),
    view(guest("rack", 700, "asleep", "rack-a", "suspended", lock="suspended")),
    view(guest("branch", 101, "gw-01", "pve", tags=("edge",)), "172.16.4.1", stale=True),
    view(guest("branch", 102, "print-01", "pve", "stopped"), stale=True),
    view(guest("branch", 103, "", "pve", "unknown"), stale=True),
    view(guest("lab", 9012, "tpl-debian-12", "pve1", "stopped", template=True)),
)

NODES = (
    Node("rack-a", True, 0.41, 16, 64 * GIB, 48 * GIB, 40 * 86400),
    Node("rack-b", True, 0.22, 16, 64 * GIB, 60 * GIB, 40 * 86400),
    Node("rack-c", False),
)
STORAGES = (
    Storage("rack-a", "local-lvm", "lvmthin", frozenset({"images", "rootdir"}), False, True, 890 * GIB, 478 * GIB),
    Storage("rack-a", "ceph-ssd", "rbd", frozenset({"images"}), True, True, 8000 * GIB, 7300 * GIB),
    Storage("rack-c", "local-lvm", "lvmthin", frozenset({"images"}), False, False),
)
STAGES = (
    Stage(StageName.NAME, StageState.OK, 12, "rack.example.net is 203.0.113.31"),
    Stage(StageName.TCP, StageState.OK, 38, "Port 8006 is open"),
    Stage(
        StageName.TLS, StageState.WARNING, 41, "The accepted certificate; it ends in 6 days", "Renew it on the server."
    ),
    Stage(StageName.HTTP, StageState.OK, 40, "A Proxmox VE answers"),
    Stage(StageName.VERSION, StageState.OK, 9, "9.1.6"),
    Stage(StageName.TOKEN, StageState.OK, 43, "comserv@pve!manager is accepted"),
    Stage(
        StageName.RIGHTS,
        StageState.FAILED,
        44,
        "The token has no rights of its own",
        "Run on the server:\npveum acl modify / --tokens 'comserv@pve!manager' --roles Comserv",
        ProxmoxSaid(403, "Permission check failed (/, Sys.Audit)"),
    ),
    *(Stage(name, StageState.SKIPPED, 0, "") for name in list(StageName)[7:]),
)
TOKEN = TokenId("comserv", "pve", "manager")


def server(id: str, **more: object) -> Server:
    address = f"https://{id}.example.net:8006"
    tls = Tls(TlsMode.FINGERPRINT, fingerprints={address: PIN})
    return Server(id, id, (address,), TOKEN, tls, **more)  # pyright: ignore[reportArgumentType]


def server_view(id: str, health: Health, picture: Picture, stale: bool = False, **more: object) -> ServerView:
    own = [one for one in GUESTS if one.guest.key.server == id and not one.guest.template]
    values = {
        "server": server(id), "health": health, "picture": picture, "stale": stale, "last_test": None, "guests": len(own),
        "running": sum(one.guest.status == "running" for one in own), "cpu": 0.31, "memory": 128 * GIB,
        "memory_used": 108 * GIB, "disk": 8890 * GIB, "disk_used": 7778 * GIB,
    }  # fmt: skip
    return ServerView(**(values | more))  # pyright: ignore[reportArgumentType]


LAB = server_view(
    "lab",
    Health("lab", ServerState.UP, 3.2, ago(seconds=4), requests_last_minute=22),
    Picture("lab", ago(seconds=4), 7, "9.1.6", nodes=(Node("pve1", True, 0.2, 8, 32 * GIB, 20 * GIB, 9000),), storages=STORAGES[:1]),
    last_test=LastTest(ago(minutes=2), STAGES[:6]),
)  # fmt: skip
RACK_AT = tuple(f"https://{host}.example.net:8006" for host in ("rack", "rack-b", "rack-c"))
KEPT = tuple(
    KeptCertificate(at, PIN, "CN=rack", "CN=Proxmox Virtual Environment", ago(days=700), NOW + timedelta(days=days))
    for at, days in zip(RACK_AT, (6, 300, 300), strict=True)
)
TROUBLES = (
    AddressTrouble(
        RACK_AT[1],
        ago(minutes=14),
        f"{RACK_AT[1]}: connection refused, nothing listens there",
        "Check that pveproxy runs.",
    ),
    AddressTrouble(
        RACK_AT[2], ago(hours=3), f"{RACK_AT[2]}: its fingerprint was not accepted", "", True, PIN.replace("7C", "AB")
    ),
)
RACK = server_view(
    "rack",
    Health(
        "rack",
        ServerState.SLOW,
        1840,
        ago(seconds=9),
        requests_last_minute=41,
        address=RACK_AT[0],
        troubles=TROUBLES,
        certificates=KEPT,
        token_expires=NOW + timedelta(days=2),
        token_read_at=NOW,
    ),
    Picture("rack", ago(seconds=9), 9, "9.0.11", "rack", True, NODES, STORAGES),
    last_test=LastTest(ago(minutes=2), STAGES),
    server=replace(server("rack", default_node="rack-a"), addresses=RACK_AT),
)
BRANCH = server_view(
    "branch",
    Health(
        "branch", ServerState.DOWN, 22, ago(minutes=14), ago(minutes=14), 31, NOW + timedelta(seconds=30),
        "The server branch does not answer; nothing was carried out.", "No route to host.",
        "Check that the host is up and its port 8006 can be reached from here.",
    ),
    Picture("branch", ago(minutes=14), 3, "8.4.1", nodes=(Node("pve", True, 0.2, 4, 16 * GIB, 9 * GIB, 86400),)),
    stale=True,
    cpu=0.22,
)  # fmt: skip
NEVER = server_view(
    "new-one", Health("new-one"), Picture("new-one", None), stale=True, cpu=None, memory=None, memory_used=None, disk=None,
    disk_used=None,
)  # fmt: skip
SERVERS = (BRANCH, LAB, NEVER, RACK)

NEXT_TOKEN = TokenId("comserv", "pve", "manager-2")
OWN_CA = "CN=Proxmox Virtual Environment,OU=1c9f,O=PVE Cluster Manager CA"
BEFORE = CertificateSeen(
    RACK_AT[0], PIN, "CN=rack-a.example.net,OU=PVE Cluster Node", OWN_CA, "2024-11-20T00:00:00+00:00", "2026-11-20T00:00:00+00:00",
    False, "", ("127.0.0.1", "localhost", "10.10.0.2", "rack-a"), "ab" * 32,
)  # fmt: skip
AFTER = replace(
    BEFORE, fingerprint=PIN.replace("7C", "AB"), not_before="2026-11-21T00:00:00+00:00", not_after="2028-11-20T00:00:00+00:00", key="cd" * 32
)  # fmt: skip
REVIEW = CertificateReview(
    (
        ChangedCertificate(
            RACK_AT[:2], BEFORE, PIN, AFTER, differences(BEFORE, PIN, AFTER), *judge_change(BEFORE, AFTER, NOW), compare_command(AFTER, ("rack-a",))
        ),
    ),
    (replace(BEFORE, address=RACK_AT[2]),),
    {"https://rack-d.example.net:8006": "no answer in time"},
)  # fmt: skip


def node_certificate(node: str, file: str = "pve-ssl.pem", pin: str = PIN) -> NodeCertificate:
    return NodeCertificate(
        node,
        file,
        pin,
        f"/CN={node}.example.net",
        "/O=PVE Cluster Manager CA",
        ago(days=9),
        NOW + timedelta(days=700),
        (node,),
        "PEM",
    )


OFFERS = Offers(
    (
        OfferedAddress("rack-a", "https://10.10.0.2:8006", node_certificate("rack-a"), known_as=RACK_AT[0]),
        OfferedAddress("rack-b", "https://10.10.0.3:8006", node_certificate("rack-b", pin=PIN.replace("7C", "EF"))),
        OfferedAddress("rack-c", "https://10.10.0.4:8006", online=False, problem="It is offline; its certificate can be read when it is back."),
    ),
    OfferedCa(node_certificate("rack-a", "pve-root-ca.pem", PIN.replace("7C", "CA"))),
)  # fmt: skip

ATTENTION = (
    Attention("bad", "branch does not answer.", "No route to host. Its 3 guests are shown as last seen.", ago(minutes=14), "server", "branch"),
    Attention("bad", "Create db-replica-02 failed.", "The clone failed on rack-b.", ago(minutes=21), "job", FAILED.id),
    Attention("warn", "ceph-ssd on rack is 91 % full.", "New disks will not fit, and snapshots may stop guests.", ago(seconds=9), "server", "rack"),
)  # fmt: skip
LOAD = LoadView(
    "rack", Gentleness.USUAL, PACES[Gentleness.USUAL], 10, (0.1, 0.2, 1.0),
    Load(
        "p1", NOW, {Purpose.SWEEP: 6, Purpose.JOB: 21, Purpose.TASK_POLL: 14}, 2, 3, 1,
        (SlowCall("GET", "/nodes/rack-a/storage/ceph-ssd/content", 4210.4, ago(minutes=3), Purpose.PLAN, 200),
         SlowCall("POST", "/nodes/rack-b/qemu/9000/clone", 1840, ago(minutes=1), Purpose.JOB, None)),
    ),
    "open", 4, NOW + timedelta(seconds=18),
)  # fmt: skip
COVERAGE = coverage(len(SERVERS), (one.outage for one in SERVERS))
SUMMARY = Summary(ATTENTION, SERVERS, (RUNNING, LOOKING, HELD), (DONE, FAILED, CANCELLED))
CALM = Summary((), (LAB,), (), ())
COUNTS = Counts(14, 3, 4, 1, 1)
NO_COUNTS = Counts(0, 0, 0, 0, 0)

CONFIG = GuestConfig(
    {
        "name": "shop-01", "cores": "4", "sockets": "1", "memory": "8192", "cpu": "host", "balloon": "4096", "boot": "order=scsi0;net0",
        "scsi0": "local-zfs:vm-131-disk-0,size=40G", "ide2": "local-zfs:vm-131-cloudinit,media=cdrom", "onboot": "1",
        "net0": "virtio=BC:24:11:3F:9A:02,bridge=vmbr0,tag=20", "agent": "1", "bios": "ovmf", "ostype": "l26",
        "description": "Front of the shop.",
    },
    "0" * 40,
)  # fmt: skip


def live(view: GuestView, qmpstatus: str = "", lock: str = "", pending: tuple[PendingChange, ...] = ()) -> GuestLive:
    guest = view.guest
    state = GuestState(
        guest.status, qmpstatus or str(guest.status), guest.name, lock, guest.uptime or 0, guest.cpu, 4, guest.memory,
        guest.memory_used, guest.disk, True,
    )  # fmt: skip
    actions = possible_actions(PowerFacts(guest.type, guest.status, lock, guest.template, qmpstatus=qmpstatus))
    notes = "Front of the shop, behind proxy-fra-01.\nAsk Piet before a reboot on weekdays."
    return GuestLive(view, state, CONFIG, pending, actions, "https://lab.example.net:8006/#v1:0:=qemu%2F131", notes)


PENDING = (PendingChange("memory", "8192", "12288"), PendingChange("net1", "virtio=…", None))
AGENT = AgentReport(
    ago(seconds=8),
    (
        AgentAddress("lo", "00:00:00:00:00:00", "127.0.0.1", 8),
        AgentAddress("eth0", "BC:24:11:3F:9A:02", "10.20.0.31", 24),
        AgentAddress("eth0", "BC:24:11:3F:9A:02", "fe80::be24:11ff:fe3f:9a02", 64),
        AgentAddress("eth0", "BC:24:11:3F:9A:02", "2001:db8:20::31", 64),
    ),
    "Debian GNU/Linux 12 (bookworm)",
    "shop-01",
)


def task(type: str, seconds: int, status: str = "OK", running: bool = False, user: str = "root@pam") -> TaskRow:
    began = NOW - timedelta(seconds=seconds)
    upid = parse_upid("lab", f"UPID:pve1:0014E2B1:1F00A9C2:{int(began.timestamp()):08X}:{type}:131:{user}:")
    return TaskRow(upid, running, "" if running else status, None if running else began + timedelta(seconds=112))


TASKS = (
    task("vzdump", 40, running=True),
    task("qmstart", 4000, user="comserv@pve!manager"),
    task("resize", 90000, "unable to resize: no space left"),
    task("qmigrate", 990000, "unexpected status"),
)
DELETION = Deletion(
    GUESTS[0],
    ("1 disk of 40 GiB on local-zfs (scsi0) is gone for good.",),
    ("14 backups on pbs-hel stay.",),
    (Finding(Level.WARNING, "runs", "It runs, up 12 days.", "It is stopped first, like pulling the plug."),),
)
REFUSED_DELETION = replace(
    DELETION, findings=(Finding(Level.BLOCKER, "protected", "It is protected.", "Take the protection away in Proxmox first."),)
)  # fmt: skip

TEMPLATE = TemplateChoice(GUESTS[-1].guest, 2, 2048, 4.0, True, True, "vmbr0", "debian")
CHOICES = Choices("lab", (TEMPLATE,), LAB.picture.nodes, STORAGES[:2], {"pve1": ("vmbr0", "vmbr1")}, ("web-team",), 133)
PLAN = Plan(
    Placement(
        "lab", "pve1", "local-lvm", True, ("The template lies on pve1.", "local-lvm has the most free space."),
        (NodeChoice("pve1", True, True, "14 GiB of memory free, template here"), NodeChoice("pve3", False, False, "in maintenance")),
    ),
    (
        PlannedCall("POST", "/nodes/pve1/qemu/9012/clone", {"newid": "133", "name": "web-01", "full": "1", "storage": "local-lvm"}),
        PlannedCall("POST", "/nodes/pve1/qemu/133/config", {"cores": "4", "memory": "8192", "cipassword": "•••"}),
        PlannedCall("POST", "/nodes/pve1/qemu/133/status/start"),
        PlannedCall("GET", "/nodes/pve1/qemu/133/agent/network-get-interfaces", note="until 10.20.0.33 is seen"),
    ),
    (
        Finding(Level.NOTE, "inherited", "The template’s second disk is inherited."),
        Finding(Level.WARNING, "memory", "pve1 will have 6 GiB of memory free.", "Take 4 GiB, or free some first."),
    ),
)  # fmt: skip
BLOCKED = replace(
    PLAN,
    findings=(
        *PLAN.findings,
        Finding(
            Level.BLOCKER, "address_taken", "10.20.0.31 is in use by shop-01 on lab / pve1.",
            "Its agent told us 9 s ago. Use another address.", "network.ip_address",
        ),
    ),
)  # fmt: skip

TOKENS = (
    ApiTokenView(1, "ci", Role.OPERATOR, ago(days=20), NOW + timedelta(days=70), ago(minutes=2)),
    ApiTokenView(2, "old", Role.VIEWER, ago(days=90), ago(days=1), None),
    ApiTokenView(3, "for ever", Role.ADMIN, ago(days=9), None, None),
)
_CHROMIUM = "Mozilla/5.0 (X11; Linux x86_64) Chromium/140"
SESSIONS = (
    SessionView(1, ago(hours=2), ago(seconds=5), "127.0.0.1", _CHROMIUM, True, "Chromium 140 on Linux"),
    SessionView(2, ago(days=2), ago(hours=20), "10.0.0.7", "Mozilla/5.0 (iPhone)", False, "A browser on iPhone"),
    SessionView(3, ago(days=2), ago(days=1), "2001:db8:20:ffff:1234:5678:9abc:def0", "", False, "An unknown program"),
)
KEYS = (
    OwnKey(1, 1, read_ssh_key(ED25519), True, ago(days=40)),
    OwnKey(2, 1, replace(read_ssh_key(RSA), name="the old one at the office"), False, ago(days=300)),
)
LIKE = Like(
    VmRequest(
        "lab", "shop-02", TemplateRef("lab", 9012), cpu_cores=4, memory_mb=8192, disk_gb=40, tags=("prod", "web"), pool="web-team",
        network=Network(NetworkType.STATIC, "10.20.0.32", 24, "10.20.0.1", "vmbr1", 20, dns_servers=("10.20.0.2",)),
        cloud_init=CloudInit("debian", "", (ED25519,)), storage="gone-nfs",
    ),
    "shop-01", DONE.id, ("cloud_init.password",),
)  # fmt: skip
LAST = Last(replace(LIKE.request, hostname="", tags=(), pool="", storage=""), ago(hours=3))
AUDIT = (
    AuditEntry("admin", "create_vm", "job 0d7k3v9a1x4q2m7t", Outcome.DONE, "page", "127.0.0.1", "Create web-01", id=3, at=ago(seconds=31)),
    AuditEntry("mara", "manage_servers", "server lab", Outcome.REFUSED, "api", "10.0.0.7", "manage_servers needs the role admin.", id=2, at=ago(minutes=4), count=12),
    AuditEntry("", "sign_in", "person mallory", Outcome.REFUSED, "page", "10.0.0.9", id=1, at=ago(hours=5)),
)  # fmt: skip
SEEN = CertificateSeen(
    "https://lab.example.net:8006", PIN, "CN=lab.example.net", "CN=Proxmox Virtual Environment, OU=PVE Cluster Manager CA",
    "2025-02-12", "2027-02-12", False,
)  # fmt: skip


MAY = frozenset(needed_privileges(Version("9.1.6"))) - {"VM.Clone"}


def report(server_id: str, held: frozenset[str] | None) -> DoctorReport:
    """What the doctor says of a token with these privileges at /, and none of VM.PowerMgmt at /vms/133; None: never looked at."""
    token = TokenId("comserv", "pve", "manager")
    if held is None:
        return DoctorReport(server_id, str(token))
    one_less = dict.fromkeys(held - {"VM.PowerMgmt"}, True)
    rights = Rights({"/": dict.fromkeys(held, True), "/vms/133": one_less} if held else {})
    seen = RightsSeen(ago(minutes=2), str(token), "9.1.6", rights)
    return DoctorReport(
        server_id, str(token), seen.as_of, False, "9.1.6", examine(seen, None, token), token_notes(seen, token, NOW)
    )
