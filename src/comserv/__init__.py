"""Comserv: manages virtual machines on any number of Proxmox VE servers."""

__version__ = "0.1.0"
