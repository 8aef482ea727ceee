"""What tests against hostile servers and people share."""

from tests.proxmox.conftest import authority  # noqa: F401
from tests.web.conftest import browser  # noqa: F401
