"""How long jobs of this process took, since it started: for Prometheus."""

from collections import defaultdict
from collections.abc import Mapping

from comserv.domain.job import Job
from comserv.proxmox.meter import Timing

BOUNDS = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0)
"""Upper bounds in seconds."""


class JobTimes:
    """By kind and by how they ended."""

    def __init__(self) -> None:
        self._times: defaultdict[tuple[str, str], Timing] = defaultdict(lambda: Timing(BOUNDS))

    @property
    def times(self) -> Mapping[tuple[str, str], Timing]:
        return self._times

    def ended(self, job: Job) -> None:
        """From when it was asked for to its end."""
        if job.ended:
            asked = job.queued or job.created
            self._times[str(job.kind), str(job.state)].add(max(0.0, (job.ended - asked).total_seconds()))
