"""What time it is on a server, by the Date of its replies: our own clock may be hours off, or be set while a call is on its way."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from time import monotonic


class ServerTime:
    """Each reply tells its second, so it lay between two bounds; the estimate is moved into them and no further.

    It runs on by the monotonic clock: no clock that is set, ours or another, makes a time between two looks shorter or longer,
    but the server's own.
    """

    def __init__(self) -> None:
        self._ahead: float | None = None  # of the monotonic clock, in seconds

    def told(self, date: str, asked: float, answered: float) -> None:
        """date: a reply's header; asked, answered: by the monotonic clock. One that is no date tells nothing."""
        try:
            second = parsedate_to_datetime(date).replace(tzinfo=UTC).timestamp()
        except ValueError:
            return
        least, most = second - answered, second + 1 - asked
        self._ahead = (least + most) / 2 if self._ahead is None else min(max(self._ahead, least), most)

    def now(self) -> datetime | None:
        """None as long as no reply has told it."""
        if self._ahead is None:
            return None
        return datetime.fromtimestamp(0, UTC) + timedelta(seconds=monotonic() + self._ahead)
