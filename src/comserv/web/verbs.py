"""What can be done to a guest, as buttons say it: verb, drawing, and whether it asks once more before it is done."""

from collections.abc import Mapping
from dataclasses import dataclass

from comserv.domain.guest import Guest
from comserv.domain.power import PowerAction, PowerFacts, possible_actions


@dataclass(frozen=True)
class Verb:
    """hard: may lose data, so it asks once, naming the guest, and says the consequence."""

    action: PowerAction
    label: str
    icon: str
    hard: bool = False
    consequence: str = ""


POWER = {
    verb.action: verb
    for verb in (
        Verb(PowerAction.START, "Start", "player-play"),
        Verb(PowerAction.RESUME, "Resume", "player-track-next"),
        Verb(PowerAction.SHUTDOWN, "Shut down", "power"),
        Verb(PowerAction.REBOOT, "Reboot", "rotate-clockwise"),
        Verb(PowerAction.SUSPEND, "Pause", "player-pause"),
        Verb(PowerAction.HIBERNATE, "Hibernate", "moon"),
        Verb(PowerAction.RESET, "Reset", "bolt", True, "Like the reset button: what is not on disk yet is lost."),
        Verb(
            PowerAction.STOP, "Stop now", "player-stop", True, "Like pulling the plug: what is not on disk yet is lost."
        ),
    )
}


def fitting(guest: Guest) -> tuple[Verb, ...]:
    """What a list offers for a guest as last seen; services decide again when one is asked for."""
    facts = PowerFacts(guest.type, guest.status, guest.lock, guest.template, guest.hastate not in ("", "ignored"))
    possible = possible_actions(facts)
    return tuple(verb for action, verb in POWER.items() if not possible[action])


def possible(actions: Mapping[PowerAction, str]) -> tuple[Verb, ...]:
    """Those that the server's own answer allows now."""
    return tuple(verb for action, verb in POWER.items() if actions.get(action) == "")
