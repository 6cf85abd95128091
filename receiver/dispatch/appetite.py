"""How much a handler is given at a time (pure): its free calls, a little ahead if it is fast, or a gathered batch."""

from datetime import timedelta

from receiver.handler import HandlerSettings

LEAD = 0.02
"""Seconds of work that may be claimed ahead. A handler whose calls take longer gets nothing ahead: what is claimed and
not yet written is repeated after a crash."""
MOST_AHEAD = 256
MOST_AT_ONCE = 1024


class Appetite:
    """Watches how long calls take and how much of what is claimed passes the filters. Times are monotonic seconds."""

    def __init__(self, settings: HandlerSettings, *, batch: int) -> None:
        self.batch = batch
        self.gathers = batch > 1 and settings.batch_wait > timedelta(0)
        self._wait = settings.batch_wait.total_seconds()
        self._concurrency = settings.concurrency
        self._took = 1.0
        self._share = 1.0
        self._since: float | None = None

    @property
    def ahead(self) -> int:
        """How many events may wait behind those in hand."""
        if self._took > LEAD or self.gathers:
            return 0
        return min(MOST_AHEAD, int(self._concurrency * self.batch * LEAD / max(self._took, 1e-6)))

    def limit(self, *, calls: int, queued: int) -> int:
        """How many to claim now, with so many calls running and events queued; 0 where it is not worth while yet."""
        free = self._concurrency - calls
        if free <= 0 and queued > self.ahead // 2:
            return 0
        if self.gathers:
            return min(self.batch - queued, MOST_AT_ONCE) if free > 0 else 0
        return min(free * self.batch + self.ahead - queued, max(self.batch, MOST_AHEAD), MOST_AT_ONCE)

    def performed(self, took: float) -> None:
        """A call took so many seconds."""
        self._took += 0.2 * (took - self._took)

    def claimed(self, count: int, wanted: int) -> None:
        """So many were claimed, and so many of them were for this handler."""
        self._since = None
        if count:
            self._share += 0.5 * (wanted / count - self._share)

    def patience(self, ready: int, now: float) -> float:
        """Seconds to wait for a fuller batch with so many ready; 0: claim now."""
        if not ready:
            self._since = None
            return self._wait
        self._since = now if self._since is None else self._since
        if ready * self._share >= self.batch:
            return 0.0
        return max(self._since + self._wait - now, 0.0)
