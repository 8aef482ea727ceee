"""Parameters of a request: decoded with all of Proxmox VE's oddities, then verified against the description."""
