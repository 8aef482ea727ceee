"""Property strings: Proxmox's way to put several values into one parameter, `virtio=BC:24:11:00:00:01,bridge=vmbr0`.

Their rules are those of PVE::JSONSchema: parts at commas, a part is `key=value`, and one part may stand without its key
(the default key: `model` of net0, `file` of scsi0 and ide2, `enabled` of agent). There is no quoting.
"""

from collections.abc import Mapping

from comserv.domain.errors import Invalid


def parse(text: str, default_key: str = "") -> dict[str, str]:
    """`local:cloudinit,media=cdrom` → `{"file": "local:cloudinit", "media": "cdrom"}` with default_key `file`.

    The part without a key stands under `default_key`, so under "" where none is named. Keys keep their order.
    Raises Invalid when a key comes twice or a value is empty, as Proxmox does.
    """
    values: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = part.partition("=")
        if not equals:
            key, value = default_key, part
        if not value:
            raise Invalid(f"{part} in {text} has no value")
        if key in values:
            raise Invalid(f"{key or value} stands twice in {text}")
        values[key] = value
    return values


def write(mapping: Mapping[str, str], default_key: str = "") -> str:
    """The inverse of `parse`; the value of `default_key` goes first, without its key. Raises Invalid for a comma in a
    value, and for an empty one: a property string cannot hold either."""
    for key, value in mapping.items():
        if not value or "," in value or "," in key or "=" in key:
            raise Invalid(f"{key}={value} cannot be part of a property string")
    parts = [mapping[default_key]] if default_key in mapping else []
    if parts and "=" in parts[0]:
        parts = [f"{default_key}={parts[0]}"]
    return ",".join(parts + [f"{key}={value}" for key, value in mapping.items() if key != default_key])
