"""Names of guests: what Proxmox takes as a DNS name, checked before it is sent, each slip in words."""

import re

LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")


def hostname_fault(name: str) -> str:
    """What is wrong with a name for a guest, as a sentence; empty where nothing is.

    Proxmox takes labels of letters, digits and inner hyphens, parted by dots (recording 09 `clone.bad-name`);
    DNS adds 63 characters a label and 253 in all.
    """
    if not name:
        return "A host name is needed, for example web-01."
    if len(name) > 253:
        return f"A host name has at most 253 characters, this one has {len(name)}."
    for label in name.split("."):
        if not label:
            return f"The host name {name} has an empty part between its dots."
        if len(label) > 63:
            return f"The part {label[:20]}… of the host name is longer than 63 characters."
        if not LABEL.fullmatch(label):
            return f"The host name {name} may hold letters, digits and inner hyphens, parted by dots."
    return ""


def same_name(one: str, other: str) -> bool:
    """Names are the same whatever their case, as in DNS."""
    return one.rstrip(".").lower() == other.rstrip(".").lower()
