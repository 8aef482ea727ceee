"""Moves guests to other nodes and to other servers: what is asked, checked, copied and logged on the way."""
