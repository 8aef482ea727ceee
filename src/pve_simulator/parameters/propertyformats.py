"""The named formats that are property strings (`pve-qm-ipconfig`, `pve-qm-boot`, ...), by their members."""

from __future__ import annotations

from collections.abc import Callable

from pve_simulator.parameters.formats import FORMATS, FormatError

MODELS = """
486 athlon Broadwell Broadwell-IBRS Broadwell-noTSX Broadwell-noTSX-IBRS Cascadelake-Server Cascadelake-
Server-noTSX Cascadelake-Server-v2 Cascadelake-Server-v4 Cascadelake-Server-v5 ClearwaterForest Conroe
Cooperlake Cooperlake-v2 core2duo coreduo EPYC EPYC-Genoa EPYC-Genoa-v2 EPYC-IBPB EPYC-Milan EPYC-Milan-v2
EPYC-Milan-v3 EPYC-Rome EPYC-Rome-v2 EPYC-Rome-v3 EPYC-Rome-v4 EPYC-Rome-v5 EPYC-Turin EPYC-v3 EPYC-v4 EPYC-v5
GraniteRapids GraniteRapids-v2 GraniteRapids-v3 Haswell Haswell-IBRS Haswell-noTSX Haswell-noTSX-IBRS host
Icelake-Client Icelake-Client-noTSX Icelake-Server Icelake-Server-noTSX Icelake-Server-v3 Icelake-Server-v4
Icelake-Server-v5 Icelake-Server-v6 Icelake-Server-v7 IvyBridge IvyBridge-IBRS KnightsMill kvm32 kvm64 max
Nehalem Nehalem-IBRS Opteron_G1 Opteron_G2 Opteron_G3 Opteron_G4 Opteron_G5 Penryn pentium pentium2 pentium3
phenom qemu32 qemu64 SandyBridge SandyBridge-IBRS SapphireRapids SapphireRapids-v2 SapphireRapids-v3
SapphireRapids-v4 SierraForest SierraForest-v2 SierraForest-v3 Skylake-Client Skylake-Client-IBRS Skylake-
Client-noTSX-IBRS Skylake-Client-v4 Skylake-Server Skylake-Server-IBRS Skylake-Server-noTSX-IBRS Skylake-
Server-v4 Skylake-Server-v5 Westmere Westmere-IBRS x86-64-v2 x86-64-v2-AES x86-64-v3 x86-64-v4
"""
CPU_MODELS = frozenset(MODELS.split())


def cpu_model(values: dict[str, str]) -> None:
    """Refuses a processor model that there is not."""
    model = values.get("cputype", "kvm64")
    if model not in CPU_MODELS and not model.startswith("custom-"):
        raise FormatError(f"Built-in cputype '{model}' is not defined (missing 'custom-' prefix?)")


# What is checked once a property string of a format was split and found right.
WHOLE: dict[str, Callable[[dict[str, str]], None]] = {"pve-vm-cpu-conf": cpu_model}

TEXT = {"type": "string", "optional": True}
FLAG = {"type": "boolean", "optional": True}
NUMBER = {"type": "integer", "optional": True}

FORMATS["pve-qm-ipconfig"] = {
    "ip": {"type": "string", "format": "pve-ipv4-config", "optional": True},
    "gw": {"type": "string", "format": "ipv4", "optional": True, "requires": "ip"},
    "ip6": {"type": "string", "format": "pve-ipv6-config", "optional": True},
    "gw6": {"type": "string", "format": "ipv6", "optional": True, "requires": "ip6"},
}
FORMATS["pve-qm-boot"] = {
    "legacy": {"type": "string", "default_key": 1, "pattern": "[acdn]{1,4}", "optional": True},
    "order": {"type": "string", "format": "pve-boot-devices-list", "optional": True},
}
FORMATS["pve-vm-cpu-conf"] = {
    "cputype": {"type": "string", "default_key": 1, "optional": True},
    "reported-model": TEXT,
    "hidden": FLAG,
    "hv-vendor-id": {"type": "string", "pattern": "[a-zA-Z0-9]{1,12}", "optional": True},
    "flags": {"type": "string", "pattern": r"[+\-][a-zA-Z0-9\-_.]+(;[+\-][a-zA-Z0-9\-_.]+)*", "optional": True},
    "phys-bits": {"type": "string", "pattern": r"host|\d+", "optional": True},
    "guest-phys-bits": {"type": "integer", "minimum": 32, "maximum": 64, "optional": True},
}
FORMATS["pve-qm-smbios1"] = {
    "uuid": {
        "type": "string",
        "pattern": "[a-fA-F0-9]{8}(?:-[a-fA-F0-9]{4}){3}-[a-fA-F0-9]{12}",
        "optional": True,
    },
    **dict.fromkeys(("version", "serial", "manufacturer", "product", "sku", "family"), TEXT),
    "base64": FLAG,
}
FORMATS["pve-qm-watchdog"] = {
    "model": {"type": "string", "default_key": 1, "enum": ["i6300esb", "ib700"], "optional": True},
    "action": {
        "type": "string",
        "enum": ["reset", "shutdown", "poweroff", "pause", "debug", "none"],
        "optional": True,
    },
}
FORMATS["pve-qm-rng"] = {
    "source": {"type": "string", "default_key": 1, "enum": ["/dev/urandom", "/dev/random", "/dev/hwrng"]},
    "max_bytes": NUMBER,
    "period": NUMBER,
}
FORMATS["pve-qm-cicustom"] = {
    key: {"type": "string", "format": "pve-volume-id", "optional": True}
    for key in ("meta", "network", "user", "vendor")
}
FORMATS["pve-qm-hostpci"] = {
    "host": {"type": "string", "default_key": 1, "optional": True},
    "mapping": TEXT,
    "rombar": FLAG,
    "romfile": TEXT,
    "pcie": FLAG,
    "x-vga": FLAG,
    "legacy-igd": FLAG,
    "mdev": TEXT,
    "vendor-id": TEXT,
    "device-id": TEXT,
    "sub-vendor-id": TEXT,
    "sub-device-id": TEXT,
}
FORMATS["prune-backups"] = {
    "keep-all": FLAG,
    **{f"keep-{key}": NUMBER for key in ("last", "hourly", "daily", "weekly", "monthly", "yearly")},
}
