"""Reading callbacks: what came in one turn of the loop is parsed together, and handed to the store together."""

import asyncio
from collections.abc import Callable, Sequence

from receiver.callback import Callback
from receiver.errors import Forbidden, Unreadable
from receiver.events import Event
from receiver.source import Source
from receiver.store.base import Recorded, Store

NOTHING = Recorded("ignored")
"""What becomes of a callback that holds nothing to store."""


class Reading:
    """A callback on its way to the disk."""

    __slots__ = ("callback", "events", "fault", "recorded", "source")

    def __init__(self, source: Source, callback: Callback, recorded: "asyncio.Future[Recorded]") -> None:
        self.source, self.callback = source, callback
        self.events: Sequence[Event] = ()
        self.fault = ""
        """Why it cannot be read; it is kept then all the same."""
        self.recorded = recorded
        """What became of it, once that is durable. Raises Forbidden, StoreUnavailable."""


class Reader:
    """Reads callbacks by the turn of the loop.

    The same code for one callback after the other costs two thirds of what it costs among all the other code that a
    request needs: it stays in the processor's caches.
    """

    def __init__(self, store: Store, adapter_failed: Callable[[Callback, Exception], None]) -> None:
        """`adapter_failed` is told of an adapter's bugs."""
        self._store = store
        self._adapter_failed = adapter_failed
        self._came: list[Reading] = []
        self._loop: asyncio.AbstractEventLoop | None = None  # to ask for the running one is a system call

    def take(self, source: Source, callback: Callback) -> Reading:
        """Have a callback read and stored, with all that come in this turn."""
        loop = self._loop = self._loop or asyncio.get_running_loop()
        reading = Reading(source, callback, loop.create_future())
        if not self._came:
            loop.call_soon(self._read)
        self._came.append(reading)
        return reading

    def _read(self) -> None:
        came, self._came = self._came, []
        for reading in came:
            self._parse(reading)
        for reading in came:
            if reading.recorded.done():  # refused, or nobody waits for it any more
                continue
            if not reading.events and not reading.fault:
                reading.recorded.set_result(NOTHING)
                continue
            self._submit(reading)

    def _parse(self, reading: Reading) -> None:
        """The events of a callback, or why it cannot be read. Content never costs more than quarantine."""
        source, callback = reading.source, reading.callback
        try:
            source.provider.authenticate(callback)
            reading.events = source.read(callback)
        except Forbidden as refusal:
            if not reading.recorded.done():
                reading.recorded.set_exception(refusal)
        except Unreadable as fault:
            reading.fault = str(fault) or "cannot be read"
        except Exception as fault:  # an adapter's bug: the callback is kept, and read again after the fix
            self._blame_adapter(reading, fault)

    def _submit(self, reading: Reading) -> None:
        try:
            self._store.submit(reading.callback, reading.events, reading.fault, reading.recorded)
        except Exception as fault:  # what the adapter gave is no event; that must not cost the others of this turn
            self._blame_adapter(reading, fault)
            self._store.submit(reading.callback, (), reading.fault, reading.recorded)

    def _blame_adapter(self, reading: Reading, fault: Exception) -> None:
        self._adapter_failed(reading.callback, fault)
        reading.events, reading.fault = (), f"the {reading.source.provider.name} adapter failed: {type(fault).__name__}"
