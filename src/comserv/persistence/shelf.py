"""What this process knows of servers without asking the database: the newest pictures of those that it sweeps itself."""

from dataclasses import dataclass

from comserv.domain.picture import Health, Picture


@dataclass(frozen=True)
class Shown:
    """A server as its last look showed it. The picture's revision is one that is in the database, its figures may be newer."""

    picture: Picture
    health: Health


class Shelf:
    """By server. Whoever stops sweeping a server forgets it here: from then on another process knows it better."""

    def __init__(self) -> None:
        self._shown: dict[str, Shown] = {}

    def put(self, picture: Picture, health: Health) -> None:
        self._shown[picture.server] = Shown(picture, health)

    def of(self, server: str) -> Shown | None:
        return self._shown.get(server)

    def forget(self, server: str) -> None:
        self._shown.pop(server, None)
