"""Comserv: manages virtual machines on any number of Proxmox VE servers."""
