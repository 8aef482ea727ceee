"""A Proxmox VE to talk to, on loopback: strict and awkward like the real one."""
