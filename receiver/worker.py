"""A handler's own process: events in, verdicts out, one JSON object a line over an inherited socket.

`python -m receiver.worker FD`; started by `supervise`, and ended with it. What handler code prints goes to its
parent's stderr, as far as it is not too much, and never disturbs the lines.
"""

import asyncio
import ctypes
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from receiver import pipe, plugins
from receiver.errors import ConfigFault, PluginFault
from receiver.handler import BaseHandler, HandlerSettings
from receiver.perform import Performer, described

PR_SET_PDEATHSIG = 1  # prctl(2)
LONGEST_CANCEL = 0.5
LONGEST_CLOSE = 0.8


def main() -> None:
    """Serve one handler until the parent says stop or is gone."""
    sock = socket.socket(fileno=int(sys.argv[1]))
    sock.set_inheritable(False)
    # A handler that blocks the loop would not see the socket close; the kernel ends it all the same.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(_serve(sock))


async def _serve(sock: socket.socket) -> None:
    await Worker().run(sock)
    _end(0)  # here, because a thread or a task of the handler that hangs would keep the interpreter from ending


def limit(max_memory: int) -> None:
    """Keep a runaway from taking the machine along: no core, a wall for allocations.

    The wall is above `max_memory`, which the parent watches; it is for what grows faster than that. It counts the
    stacks of threads as well.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    wall = 2 * max_memory + 256 * 1024**2
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or wall < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (wall, wall))


def load(greeting: Mapping[str, Any]) -> tuple[type[BaseHandler], HandlerSettings]:
    """The handler's class and its settings. Raises ConfigFault, or PluginFault where its import breaks."""
    directory = greeting["directory"] and Path(greeting["directory"])
    use, table = greeting["use"], greeting["table"]
    try:
        plugins.find_handler(use, directory)
    except PluginFault as fault:
        raise ConfigFault(f"{greeting['file']}: handlers.{greeting['name']}.use: {fault}") from None
    handler = plugins.handler_class(use, directory)
    try:
        context = {"secrets": True, "folder": Path(greeting["folder"])}
        return handler, handler.Settings.model_validate(table, context=context)
    except ValidationError as fault:
        from receiver.config.faults import Faults, keys

        faults = Faults(Path(greeting["file"]), {})
        faults.add_all(("handlers", greeting["name"]), fault, table, keys(handler.Settings))
        raise ConfigFault(*faults) from None


class Worker:
    """Reads the parent's lines, calls the handler, and writes what came of it."""

    def __init__(self) -> None:
        self._lines = pipe.Lines(self._hear, self._orphaned)
        self._greeting: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self._stopping = asyncio.Event()
        self._calls: dict[int, asyncio.Task[None]] = {}

    async def run(self, sock: socket.socket) -> None:
        """From the greeting to the stop."""
        await asyncio.get_running_loop().create_unix_connection(lambda: self._lines, sock=sock)
        greeting = await self._greeting
        try:
            handler = await self._open(greeting)
        except (ConfigFault, PluginFault) as fault:
            self._lines.write(pipe.line(fault=str(fault), config=isinstance(fault, ConfigFault)))
            await self._stopping.wait()
        except (Exception, SystemExit) as fault:
            self._lines.write(pipe.line(fault=described(fault), config=False))
            await self._stopping.wait()
        else:
            await self._work(handler, float(greeting["beat"]))

    async def _work(self, handler: BaseHandler, beat: float) -> None:
        self._performer = Performer(handler, handler.settings.timeout)
        self._lines.write(pipe.line(ready=True, batched=self._performer.batched))
        await self._beat(beat)
        await self._close(handler)

    async def _open(self, greeting: Mapping[str, Any]) -> BaseHandler:
        handler_class, settings = load(greeting)
        limit(settings.max_memory)
        common = {name: getattr(settings, name) for name in HandlerSettings.model_fields}
        self._lines.write(pipe.line(settings=common))
        handler = handler_class(greeting["name"], settings, _log(greeting))
        await handler.open()
        return handler

    async def _beat(self, every: float) -> None:
        """Show the parent that our loop turns, until it says stop."""
        while not self._stopping.is_set():
            self._lines.write(pipe.line(beat=True))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), every)

    async def _close(self, handler: BaseHandler) -> None:
        for call in self._calls.values():
            call.cancel()
        if self._calls:
            await asyncio.wait(self._calls.values(), timeout=LONGEST_CANCEL)
        with suppress(Exception, SystemExit):
            await asyncio.wait_for(handler.close(), LONGEST_CLOSE)

    def _hear(self, said: dict[str, Any]) -> None:
        if "call" in said:
            self._calls[said["call"]] = asyncio.create_task(self._call(said))
        elif "cancel" in said:
            if call := self._calls.get(said["cancel"]):
                call.cancel()
        elif "stop" in said:
            self._stopping.set()
        else:
            self._greeting.set_result(said)

    async def _call(self, said: dict[str, Any]) -> None:
        try:
            attempt, events = pipe.called(said)
            results = await self._performer.perform(events, attempt)
            self._lines.write(pipe.line(call=said["call"], results=results))
        except MemoryError:
            # Against the wall: nothing in this process can be relied on now.
            self._lines.write(pipe.line(dying="memory"))
            _end(1)
        finally:
            self._calls.pop(said["call"], None)

    def _orphaned(self) -> None:
        os.killpg(0, signal.SIGKILL)  # we lead a group of our own: what the handler started goes too


def _log(greeting: Mapping[str, Any]) -> Any:
    """The handler's logger: to our stderr, in the form of the receiver's own log."""
    import structlog

    from receiver import logs

    logs.configure(**greeting["log"])
    logs.catch()
    return structlog.get_logger(handler=greeting["name"])


def _end(status: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
