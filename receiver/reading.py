"""Reading callbacks: what came in one turn of the loop is parsed together, and handed to the store together."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from receiver.callback import Callback
from receiver.errors import Forbidden, Unreadable
from receiver.events import Event
from receiver.source import Source
from receiver.store.base import Recorded, Store

NOTHING = Recorded("ignored")
"""What becomes of a callback that holds nothing to store."""

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Reading:
    """A callback on its way to the disk."""

    __slots__ = ("_left", "_receive", "callback", "events", "fault", "recorded", "source")

    def __init__(
        self, source: Source, callback: Callback, receive: Receive, recorded: "asyncio.Future[Recorded]"
    ) -> None:
        self.source, self.callback = source, callback
        self.events: Sequence[Event] = ()
        self.fault = ""
        """Why it cannot be read; it is kept then all the same."""
        self.recorded = recorded
        """What became of it, once that is durable. Raises Forbidden, StoreUnavailable."""
        self._receive = receive
        self._left: asyncio.Task[None] | None = None

    def watch(self) -> None:
        """Watch for the client leaving."""
        self._left = asyncio.ensure_future(self._leaves())

    def client_left(self) -> bool:
        """Whether the client was seen leaving."""
        return self._left is not None and self._left.done()

    def end(self) -> None:
        """Watch no longer."""
        if self._left:
            self._left.cancel()

    async def _leaves(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


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

    def take(self, source: Source, callback: Callback, receive: Receive) -> Reading:
        """Have a callback read and stored, with all that come in this turn."""
        loop = self._loop = self._loop or asyncio.get_running_loop()
        reading = Reading(source, callback, receive, loop.create_future())
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
            # Where only the fate of our answer can tell a retry from a second message, watch for the client leaving.
            if [event for event in reading.events if not event.identity.certain]:
                reading.watch()
            self._store.submit(reading.callback, reading.events, reading.fault, reading.recorded)
        except Exception as fault:  # what the adapter gave is no event; that must not cost the others of this turn
            self._blame_adapter(reading, fault)
            self._store.submit(reading.callback, (), reading.fault, reading.recorded)

    def _blame_adapter(self, reading: Reading, fault: Exception) -> None:
        self._adapter_failed(reading.callback, fault)
        reading.events, reading.fault = (), f"the {reading.source.provider.name} adapter failed: {type(fault).__name__}"
