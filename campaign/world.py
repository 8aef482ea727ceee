"""The simulator's own world, read and compared: what a guest is like, and what must be as it was."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from campaign.faults import Call

Json = Mapping[str, Any]
NOT_OURS_TO_KEEP = ("digest",)
ONCE = {
    "qmclone": "clone",
    "qmdestroy": "deletion",
    "vzdestroy": "deletion",
    "qmreboot": "reboot",
    "qmreset": "reset",
    "vzreboot": "reboot",
}
"""Task types that must not go well twice for one wish."""


def guests(world: Json) -> dict[int, Json]:
    return {guest["vmid"]: guest for guest in world["guests"]}


def state(guest: Json) -> str:
    """running, paused, hibernated or stopped."""
    if guest["lock"] == "suspended":
        return "hibernated"
    if guest["status"] == "running" and guest["qmpstatus"] == "paused":
        return "paused"
    return guest["status"]


def settings(guest: Json) -> dict[str, str]:
    """Its configuration as it will be after the next start; what hibernation keeps there is not the person's."""
    gone = set(guest["pending"].get("delete", "").split(",")) if isinstance(guest["pending"], Mapping) else set()
    values = {**guest["config"], **{key: value for key, value in guest["pending"].items() if key != "delete"}}
    return {key: value for key, value in values.items() if key not in gone}


def as_after_restart(
    world: Json, vmid: int | None, told: Collection[str], others: Mapping[int, Collection[str]]
) -> tuple[Json, list[str]]:
    """The world as it is once this guest has restarted, as far as its job told what waits for that, and without what somebody
    else left to wait (keys by VM id). With what was told and does not wait. What waits untold stays pending."""
    guest = guests(world).get(vmid or 0)
    if guest is None or not isinstance(guest["pending"], Mapping):
        return world, list(told)
    waits = {key: value for key, value in guest["pending"].items() if key in told}
    passed = {*waits, *others.get(guest["vmid"], ())}
    pending = {key: value for key, value in guest["pending"].items() if key not in passed}
    fresh = {**guest, "config": {**guest["config"], **waits}, "pending": pending}
    rest = [one for one in world["guests"] if one is not guest]
    return {**world, "guests": [*rest, fresh]}, sorted(set(told) - set(waits))


def named(world: Json, name: str) -> list[Json]:
    return [guest for guest in world["guests"] if guest["name"] == name]


def untouched(before: Json, after: Json, touched: Collection[int], same_state: bool) -> list[str]:
    """What of everybody else's guests is not as it was. same_state: no node died, so that they run as they did."""
    wrong, now = [], guests(after)
    for vmid, was in guests(before).items():
        if vmid in touched:
            continue
        if vmid not in now:
            wrong.append(f"the guest {vmid}, which nobody asked about, is gone")
        elif now[vmid]["config"] != was["config"] or now[vmid]["pending"] != was["pending"]:
            wrong.append(f"the configuration of {vmid}, which nobody asked about, changed: {_changed(was, now[vmid])}")
        elif same_state and state(now[vmid]) != state(was):
            wrong.append(f"the guest {vmid}, which nobody asked about, was {state(was)} and is {state(now[vmid])}")
    return wrong


def _changed(was: Json, now: Json) -> str:
    keys = {key for key in {*was["config"], *now["config"]} if was["config"].get(key) != now["config"].get(key)}
    return ", ".join(f"{key}: {was['config'].get(key)} > {now['config'].get(key)}" for key in sorted(keys))


def unaccounted(before: Json, after: Json, known: Collection[int]) -> list[str]:
    """Guests that came without being anybody's, and names that are there twice."""
    new = guests(after).keys() - guests(before).keys()
    wrong = [f"an orphan: the guest {vmid} is nobody's" for vmid in sorted(new - set(known))]
    counted = Counter(guest["name"] for guest in after["guests"] if guest["name"])
    return wrong + [f"{count} guests are called {name}" for name, count in counted.items() if count > 1]


def litter(after: Json, may_lock: Collection[int] = (), broken: bool = False) -> list[str]:
    """Locks, running tasks, volumes of nobody. broken: a node died, which leaves locks and halves of its own."""
    there = guests(after)
    wrong = [f"a task runs: {task['upid']}" for task in after["tasks"] if task["status"] == "running"]
    if broken:
        return wrong
    wrong += [
        f"the guest {vmid} is locked: {guest['lock']}"
        for vmid, guest in there.items()
        if guest["lock"] not in ("", "suspended", None) and vmid not in may_lock
    ]
    volumes = [one for one in after["volumes"] if one["vmid"] and one["vmid"] not in there]
    return wrong + [f"the volume {one['volid']} belongs to no guest" for one in volumes]


def done_twice(after: Json, token: str, wishes: Mapping[tuple[str, int], int]) -> list[str]:
    """Tasks of our token that went well more often than was wished. wishes: by (what, VM id)."""
    done: Counter[tuple[str, int]] = Counter()
    for task in after["tasks"]:
        if task["user"] == token and task["type"] in ONCE and went_well(task):
            vmid = _target(task)
            if vmid is not None:
                done[ONCE[task["type"]], vmid] += 1
    return [
        f"{times} times a {what} of {vmid} went well, {wishes.get((what, vmid), 0)} were asked for"
        for (what, vmid), times in done.items()
        if times > wishes.get((what, vmid), 0)
    ]


def went_well(task: Json) -> bool:
    return str(task["exitstatus"]).startswith(("OK", "WARNINGS"))


def _target(task: Json) -> int | None:
    """Of a clone its log tells the new guest."""
    if task["type"] != "qmclone":
        return int(task["id"]) if str(task["id"]).isdigit() else None
    told = next((line.rpartition(" with ID ")[2] for line in task["log"] if " with ID " in line), "")
    return int(told) if told.isdigit() else None


def strays(requests: Iterable[Json], token: str, touched: Collection[int], templates: Collection[int]) -> list[str]:
    """Changing calls of our token at guests that nobody asked about."""
    wrong = set()
    for row in requests:
        call = Call.of(row["method"], row["path"])
        if not call.writes or row["who"] != token or "/agent/" in call.path or "{vmid}" not in call.path:
            continue
        parts = row["path"].split("/")
        vmid = next(int(part) for part in parts if part.isdigit())
        if vmid not in touched and not (vmid in templates and call.path.endswith("/clone")):
            wrong.add(f"{row['method']} {row['path']} was sent, and nobody asked about that guest")
    return sorted(wrong)
