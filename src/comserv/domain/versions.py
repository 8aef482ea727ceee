"""Until when Proxmox supports a release of Proxmox VE: dates of its own announcements, kept as data.

Source: the table "Proxmox VE Support Lifecycle" of pve.proxmox.com/pve-docs/chapter-pve-faq.html.
"""

import re
from datetime import date

SUPPORT_ENDS = {6: date(2022, 9, 30), 7: date(2024, 7, 31), 8: date(2026, 8, 31)}
"""By major release; one that is not named has no end announced."""


def support_ends(version: str) -> date | None:
    """version: as the server tells it, `8.4.1`."""
    major = re.match(r"(\d+)", version)
    return SUPPORT_ENDS.get(int(major[1])) if major else None
