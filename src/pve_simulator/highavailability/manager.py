"""The round of the managers, every 10 s: who is master, which nodes are dead, and what each service needs next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pve_simulator.call import as_root
from pve_simulator.errors import ApiError
from pve_simulator.highavailability import groups, rules, state
from pve_simulator.world.guest import Guest

if TYPE_CHECKING:
    from pve_simulator.server import Server

FENCE_DELAY = 60.0  # seconds for which a node may be silent; as long the watchdog lets a node without quorum live
LOCK_LIFE = 120.0  # seconds after which a silent node's lock is free: only then it is surely dead
REMOVED_LOCKS = ("backup", "mounted")  # what a fenced node's work may have left in a configuration
HARD = "ha-hard"  # a process's fact: it is to be stopped, not asked
SILENT = ("unknown", "fence", "dead")


async def look(server: Server) -> None:
    """Takes a round, as the master does it; nothing where no node has a quorum or nothing is managed."""
    estate = server.estate
    if not any(estate.sections.get(name) for name in ("ha/resources", "ha/services", "ha/groups")):
        return
    server.observe()
    managed = {name: values for name, values in state.resources(estate).items() if state.wanted(values) != "ignored"}
    master = choose_master(server)
    if master is None:
        starve(server)
        return
    groups.to_rules(estate)
    forget(server, managed)
    if not managed and not state.services(estate):
        return
    now = server.clock.time()
    state.manager(estate).update(node=master, timestamp=str(int(now)))
    watch_nodes(server, master, now)
    starve(server)
    for name, values in managed.items():
        await Service(server, name, values).step()
    server.changed()


def choose_master(server: Server) -> str | None:
    """The master that is, while it lives and has a quorum; else the first node that has one."""
    able = [name for name in server.estate.nodes if not server.node_down(name) and server.quorum.holds(name)]
    known = state.manager(server.estate).get("node")
    return known if known in able else next(iter(able), None)


def forget(server: Server, managed: state.Section) -> None:
    """What is no longer managed has no state."""
    for name in list(state.services(server.estate)):
        if name not in managed:
            del state.services(server.estate)[name]
            server.changed()


def watch_nodes(server: Server, master: str, now: float) -> None:
    """Tells dead nodes from silent ones, and sets what ran there free once it is sure."""
    known = state.nodes(server.estate)
    scale = server.clock.speed
    for name in server.estate.nodes:
        told = known.setdefault(name, {"state": "online", "since": str(now)})
        if server.quorum.sees(master, name):
            if told["state"] != "online":
                known[name] = {"state": "online", "since": str(now)}
                release(server, name)
            continue
        silence = (now - float(told["since"])) * scale
        if told["state"] == "online":
            known[name] = {"state": "unknown", "since": str(now)}
        elif told["state"] == "unknown" and silence >= FENCE_DELAY and hosts(server, name):
            told["state"] = "fence"
            set_state(server, name, "fence")
        elif told["state"] == "fence" and silence >= LOCK_LIFE:
            told["state"] = "dead"
            set_state(server, name, "recovery")


def hosts(server: Server, node: str) -> list[str]:
    """The services that are on a node."""
    return [name for name, told in state.services(server.estate).items() if told.get("node") == node]


def set_state(server: Server, node: str, fresh: str) -> None:
    """Gives all services of a node that were in use another state."""
    for name in hosts(server, node):
        told = state.services(server.estate)[name]
        if fresh == "recovery" or told["state"] not in ("stopped", "error"):
            state.services(server.estate)[name] = {"state": fresh, "node": node}


def release(server: Server, node: str) -> None:
    """A node came back before it was given up: its services go on."""
    for name in hosts(server, node):
        told = state.services(server.estate)[name]
        if told["state"] == "fence":
            told["state"] = "started"


def starve(server: Server) -> None:
    """The watchdog of a node that is cut off while services are on it resets the node after a minute."""
    now = server.clock.time()
    cut = server.estate.sections.setdefault("ha/cut", {})
    for name in server.estate.nodes:
        alone = not server.quorum.holds(name) or server.faults.down(name)
        if name in server.fallen or not alone or not hosts(server, name):
            cut.pop(name, None)
        elif name not in cut:
            cut[name] = {"since": str(now)}
        elif (now - float(cut[name]["since"])) * server.clock.speed >= FENCE_DELAY:
            del cut[name]
            server.crash(name)


class Service:
    """One managed guest in a round."""

    def __init__(self, server: Server, name: str, values: dict[str, str]) -> None:
        self.server = server
        self.name = name
        self.values = values
        self.told = state.services(server.estate).get(name)

    def set(self, fresh: str, node: str, **more: str) -> None:
        """Gives it a state; what is not told anew is forgotten."""
        self.told = {"state": fresh, "node": node, **more}
        state.services(self.server.estate)[self.name] = self.told

    async def step(self) -> None:
        """Does what comes next."""
        guest = state.guest_of(self.server.estate, self.name)
        if guest is None:
            return
        if self.told is None:
            self.set("request_start" if self.wanted == "started" else "request_stop", guest.node)
        told = self.told or {}
        if told["state"] == "fence" or (told["state"] != "recovery" and self.silent(guest.node)):
            return
        if told["state"] == "recovery":
            self.recover(guest)
        elif self.busy(guest):
            return
        elif told["state"] == "error":
            if self.wanted == "disabled":
                self.set("stopped", guest.node)
        elif told["state"] in ("migrate", "relocate"):
            await self.moved(guest)
        else:
            await self.keep(guest)

    @property
    def wanted(self) -> str:
        """The state that is configured."""
        return state.wanted(self.values)

    def silent(self, node: str) -> bool:
        """Whether its node cannot be told anything."""
        return self.server.node_down(node) or not self.server.quorum.holds(node)

    def busy(self, guest: Guest) -> bool:
        """Whether something works on the guest, so that one has to wait."""
        task = self.server.tasks.get((self.told or {}).get("task", ""))
        return (task is not None and task.running) or self.server.locks.held(guest.vmid)

    def failed(self) -> str | None:
        """How the task that was begun in the last round ended, where it ended badly."""
        task = self.server.tasks.get((self.told or {}).get("task", ""))
        return task.exitstatus if task is not None and task.failed else None

    async def keep(self, guest: Guest) -> None:
        """Brings the guest into the state that is wanted, where it is; moves are asked for or follow from rules."""
        asked = state.commands(self.server.estate).pop(self.name, None)
        if self.wanted == "started":
            target = asked["node"] if asked else self.better(guest)
            if target and target != guest.node:
                await self.move(guest, asked["kind"] if asked else "migrate", target)
            elif guest.process is not None:
                self.set("started", guest.node, running="1")
            elif guest.lock not in (None, "suspended"):
                self.set("started", guest.node)
            else:
                await self.start(guest)
        elif guest.process is not None:
            await self.stop(guest)
        elif asked and asked["node"] != guest.node:
            await self.move(guest, "relocate", asked["node"])
        else:
            self.set("stopped", guest.node)

    def better(self, guest: Guest) -> str | None:
        """A node on which it should rather be, by the rules; None where it is well placed, or nothing is better."""
        estate = self.server.estate
        able = rules.candidates(estate, self.name, online(self.server))
        if not able or guest.node in able:
            return None
        preferred, _ = rules.affinity(estate, self.name)
        clash = guest.node in {rules.place(estate, other) for other in rules.apart(estate, self.name)}
        stays = guest.node in preferred and not clash and not rules.together(estate, self.name)
        return None if stays and not rules.fails_back(estate, self.name) else able[0]

    async def start(self, guest: Guest) -> None:
        """Starts it; one that does not start is tried again, then elsewhere, then given up."""
        told = self.told or {}
        failures, moves = int(told.get("failed", "0")), int(told.get("moved", "0"))
        if self.failed():
            failures += 1
            if failures > int(self.values.get("max_restart", "1")):
                elsewhere = [node for node in online(self.server) if node != guest.node]
                able = rules.candidates(self.server.estate, self.name, elsewhere)
                if not able or moves >= int(self.values.get("max_relocate", "1")):
                    self.set("error", guest.node)
                    return
                await self.move(guest, "relocate", able[0], moved=str(moves + 1))
                return
        upid = await self.begin("start", guest)
        self.set("started", guest.node, task=upid, failed=str(failures), moved=str(moves))

    async def stop(self, guest: Guest) -> None:
        """Shuts it down, by force after a minute; at once where that was asked for."""
        hard = guest.process is not None and HARD in guest.process.facts
        options = {} if hard else {"timeout": 60, "forceStop": True}
        upid = await self.begin("stop" if hard else "shutdown", guest, **options)
        self.set("request_stop", guest.node, task=upid)

    async def move(self, guest: Guest, kind: str, target: str, **more: str) -> None:
        """Begins a move: a migration of what runs, or a relocation, which stops it first."""
        if kind == "relocate" and guest.process is not None:
            await self.stop(guest)
            state.commands(self.server.estate)[self.name] = {"kind": "relocate", "node": target}
            self.set("relocate", guest.node, target=target, task=(self.told or {}).get("task", ""), **more)
            return
        options = {"online": guest.process is not None} if guest.type == "qemu" else {"restart": True}
        if guest.type == "qemu":
            options |= {"with-local-disks": True, "force": True}
        upid = await self.begin("migrate", guest, target=target, **options)
        state.commands(self.server.estate).pop(self.name, None)
        self.set(kind, guest.node, target=target, task=upid, **more)

    async def moved(self, guest: Guest) -> None:
        """A move ended, well or badly; of a relocation perhaps only the stop."""
        told = self.told or {}
        asked = state.commands(self.server.estate).pop(self.name, None)
        if asked and guest.process is None and guest.node != asked["node"]:
            await self.move(guest, told["state"], asked["node"], moved=told.get("moved", "0"))
            return
        self.set("started" if self.wanted == "started" else "stopped", guest.node, moved=told.get("moved", "0"))
        await self.keep(guest)

    def recover(self, guest: Guest) -> None:
        """Takes a guest from a dead node to another one, with its configuration alone: local disks stay behind."""
        able = rules.candidates(self.server.estate, self.name, online(self.server))
        if not able:
            if self.wanted == "disabled":
                self.set("stopped", guest.node)
            return
        if guest.lock in REMOVED_LOCKS:
            del guest.config["lock"]
        guest.node, guest.process = able[0], None
        self.set("started" if self.wanted == "started" else "request_stop", guest.node)

    async def begin(self, action: str, guest: Guest, **options: Any) -> str:
        """Begins a task in root's name, past the managers; its UPID, or nothing where it is refused."""
        path = f"/nodes/{{node}}/{guest.type}/{{vmid}}/" + (action if action == "migrate" else f"status/{action}")
        try:
            return str(await as_root(self.server, "POST", path, guest, by_manager=True, **options))
        except ApiError:
            return ""


def online(server: Server) -> list[str]:
    """The nodes that the manager counts on."""
    known = state.nodes(server.estate)
    return [name for name in server.estate.nodes if known.get(name, {}).get("state", "online") == "online"]
