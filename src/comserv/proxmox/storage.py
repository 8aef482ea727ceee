"""/storage: the storages of the whole cluster, as they are configured."""

import msgspec

from comserv.domain.storage import StorageConfig
from comserv.proxmox.decoding import Flag, Text, flag
from comserv.proxmox.exchange import Exchange


class StorageConfigRow(msgspec.Struct):
    """A row of /storage (recording 11 GET /storage?type=dir). nodes: those that have it, else all."""

    storage: Text
    type: str = ""
    content: str = ""
    shared: Flag = None
    disable: Flag = None
    nodes: str = ""


class Storages:
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def list(self) -> tuple[StorageConfig, ...]:
        """Those that the token may see, by name."""
        rows = await self._exchange.get("/storage", list[StorageConfigRow])
        return tuple(sorted((config_of(row) for row in rows), key=lambda config: config.name))


def config_of(row: StorageConfigRow) -> StorageConfig:
    return StorageConfig(
        name=str(row.storage),
        type=row.type,
        content=frozenset(filter(None, row.content.split(","))),
        shared=flag(row.shared),
        enabled=not flag(row.disable),
        nodes=frozenset(filter(None, row.nodes.split(","))),
    )
