"""One call of a handler: its time-out, and what it returned or raised as a result that can be written down."""

import asyncio
import errno
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from receiver import units
from receiver.events import Event
from receiver.handler import Attempt, Discard, Pause, Retry, Unavailable, Verdict

LONGEST_ANSWER = 300
DEEPEST_CAUSE = 8

# What the network answers when nobody is there; libraries raise them as a plain OSError as well.
_TARGET_ERRORS = frozenset(
    {
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EPIPE,
        errno.ETIMEDOUT,
    }
)


# What HTTP clients raise for a broken connection or a time-out, not derived from OSError, by their own documents.
_TARGET_CLASSES = frozenset(
    {
        "aiohttp.ClientConnectionError",
        "httpx.TransportError",
        "requests.ConnectionError",
        "requests.Timeout",
        "urllib3.ProtocolError",
        "urllib3.TimeoutError",
    }
)


class Result(NamedTuple):
    """What came of one event in one call."""

    verdict: Literal["done", "again", "unavailable", "discard", "pause", "interrupted"]
    answer: str = ""
    """What the attempt log shows: the handler's answer, or the reason."""
    after: float | None = None
    """Seconds to wait at least."""


class Call:
    """A call that is under way, in the task it was made in. As a context manager: it has so long, then it is cancelled.

    One timer does for all calls: they have the same time, so the oldest is over it first.
    """

    __slots__ = ("_calls", "_task", "due", "late")

    def __init__(self, calls: "Calls") -> None:
        self._calls, self.due, self.late = calls, 0.0, False

    def __enter__(self) -> "Call":
        self._task = self._calls.begin(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._calls.end(self)
        if self.late and self._task:
            self._task.uncancel()

    def cancel(self) -> None:
        """Its time is over."""
        self.late = True
        if self._task:
            self._task.cancel()


class Calls:
    """The calls of one handler that are under way, the oldest first."""

    def __init__(self, timeout: timedelta) -> None:
        self.on_late: Callable[[Call], None] = _nothing
        """Called with each call that was cancelled because its time was over."""
        self._seconds = timeout.total_seconds()
        self._running: dict[Call, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __contains__(self, call: Call) -> bool:
        return call in self._running

    def begin(self, call: Call) -> "asyncio.Task[Any] | None":
        """From now on its time runs. The task that it is made in."""
        if self._timer is None:
            self._loop = asyncio.get_running_loop()
            self._timer = self._loop.call_later(self._seconds, self._look)
        call.due = self._loop.time() + self._seconds
        self._running[call] = None
        return asyncio.current_task(self._loop)

    def end(self, call: Call) -> None:
        """It has come to its end."""
        del self._running[call]

    def _look(self) -> None:
        """Cancel what is over its time; the timer goes on for the oldest that is not."""
        self._timer = None
        for call in list(self._running):
            if call.late:
                continue
            if call.due > self._loop.time():
                self._timer = self._loop.call_at(call.due, self._look)
                return
            call.cancel()
            self.on_late(call)


class Performer:
    """Calls one handler, with its time-out.

    A call that ignores its cancellation goes on; whoever owns the process has to end it.
    """

    def __init__(self, handler: Any, timeout: timedelta) -> None:
        self.batched = hasattr(handler, "handle_batch")
        self.calls = Calls(timeout)
        self._handler, self._timeout = handler, timeout

    async def perform(self, events: Sequence[Event], attempt: Attempt) -> list[Result]:
        """One result for each event; only one event where the handler takes no batches. Raises MemoryError."""
        call = Call(self.calls)
        try:
            with call:
                given = await self._call(events, attempt)
        except Verdict as verdict:
            return [judged(verdict)] * len(events)
        except MemoryError:
            raise
        except asyncio.CancelledError as fault:
            if _is_ours():
                raise
            return [self._late() if call.late else judged(fault)] * len(events)
        except (Exception, SystemExit) as fault:
            return [self._late() if call.late else judged(fault)] * len(events)
        return _each(events, given)

    async def _call(self, events: Sequence[Event], attempt: Attempt) -> Any:
        if self.batched:
            return await self._handler.handle_batch(events, attempt)
        return await self._handler.handle(events[0], attempt)

    def _late(self) -> Result:
        return Result("unavailable", f"no answer within {units.words(self._timeout)}")


def _nothing(_: Call) -> None:
    """Nobody wants to know."""


def judged(fault: BaseException) -> Result:
    """The result of an exception: a verdict says it itself, trouble with the connection was the target's."""
    if isinstance(fault, Verdict):
        after = None if fault.after is None else fault.after.total_seconds()
        return Result(_WORDS.get(type(fault)) or _word(fault), shortened(fault.reason), after)
    return Result("unavailable" if _is_target(fault) else "again", described(fault))


def described(fault: BaseException) -> str:
    """An exception in one line: its name and what it says."""
    try:
        said = str(fault)
    except Exception:  # an exception of somebody else's may fail in its own __str__
        said = ""
    return shortened(f"{type(fault).__name__}: {said}" if said.strip() else type(fault).__name__)


def shortened(text: object) -> str:
    """A text as one line of at most 300 characters that can be written down as UTF-8."""
    line = " ".join(str(text).replace("\0", "\ufffd").split())
    clean = line.encode("utf-8", "replace").decode()
    return clean if len(clean) <= LONGEST_ANSWER else clean[: LONGEST_ANSWER - 1] + "…"


def _each(events: Sequence[Event], given: Any) -> list[Result]:
    """What a call returned, event by event: `{event.id: verdict}` settles one by one."""
    if isinstance(given, str) or given is None:
        return [_done(given or "")] * len(events)
    if isinstance(given, Mapping):
        return [_returned(given.get(event.id)) for event in events]
    return [_done("")] * len(events)


@lru_cache(maxsize=64)  # most answers are a status
def _done(said: str) -> Result:
    return Result("done", shortened(said))


def _returned(value: Any) -> Result:
    if value is None or isinstance(value, str):
        return _done(value or "")
    if isinstance(value, type) and issubclass(value, Verdict):
        value = value()
    if isinstance(value, BaseException):
        return judged(value)
    return Result("again", f"{type(value).__name__} is no verdict; use None, Retry, Unavailable, Discard or Pause")


_WORDS: dict[type[Verdict], Literal["again", "unavailable", "discard", "pause"]] = {
    Retry: "again",
    Unavailable: "unavailable",
    Discard: "discard",
    Pause: "pause",
}


def _word(verdict: Verdict) -> Literal["again", "unavailable", "discard", "pause"]:
    """A verdict of a handler's own class counts as the one it is derived from."""
    return next((word for kind, word in _WORDS.items() if isinstance(verdict, kind)), "again")


def _is_target(fault: BaseException) -> bool:
    return any(
        isinstance(each, ConnectionError | TimeoutError | socket.gaierror)
        or (isinstance(each, OSError) and each.errno in _TARGET_ERRORS)
        or any(_library_name(kind) in _TARGET_CLASSES for kind in type(each).__mro__)
        for each in _causes(fault)
    )


def _library_name(kind: type) -> str:
    """A class by the package it comes from: `aiohttp.ClientConnectionError`, wherever in aiohttp it is defined."""
    return f"{kind.__module__.partition('.')[0]}.{kind.__name__}"


def _causes(fault: BaseException) -> Iterator[BaseException]:
    """The exception and those it came from: HTTP libraries wrap the refused connection in errors of their own."""
    found: BaseException | None = fault
    for _ in range(DEEPEST_CAUSE):
        if found is None:
            return
        yield found
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)


def _is_ours() -> bool:
    """Whether the running task was cancelled from outside, and not only something inside the handler."""
    task = asyncio.current_task()
    return bool(task and task.cancelling())
