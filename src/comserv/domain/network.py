"""Networks of a node: what a guest's network card can be plugged into."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bridge:
    """A bridge (Linux or Open vSwitch) or a virtual network of SDN. cidr: the node's own address there, or empty."""

    node: str
    name: str
    type: str
    active: bool
    vlan_aware: bool = False
    cidr: str = ""
    cidr6: str = ""
    comment: str = ""
