"""`serve` and `dispatch`: the commands that run until they are stopped."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from receiver import __version__
from receiver.cli import options

if TYPE_CHECKING:
    from receiver.config import Settings
    from receiver.reloading import Reloading
    from receiver.serving import Serving

EX_TAKEN = 69
FORMATS = click.Choice(["auto", "console", "json", "logfmt"])


@options.command(
    "receiver serve                               what the configuration says; without one: try it out",
    "receiver serve --listen 127.0.0.1:8090       another address",
    "receiver serve --no-dispatch                 callbacks only; `receiver dispatch` runs the handlers",
)
@options.config
@click.option("--listen", metavar="ADDRESS", help="Where callbacks arrive: host:port or unix:/path.")
@click.option("--admin-listen", metavar="ADDRESS", help='Where health and metrics are; "" turns them off.')
@click.option("--log-format", type=FORMATS, help="How our own log is written, to standard error.")
@click.option("--no-dispatch", is_flag=True, help="Only receive; the handlers run in `receiver dispatch`.")
def serve(
    config: Path | None, listen: str | None, admin_listen: str | None, log_format: str | None, no_dispatch: bool
) -> int:
    """Receive callbacks, store each before it is answered, and run the handlers.

    Ends with 0 on SIGTERM and SIGINT, 69 where an address or the store is taken, 78 where the configuration is wrong.
    """
    import uvloop

    from receiver.listening import AddressTaken
    from receiver.serving import Serving, until_stopped

    given: dict[str, Any] = {"server__listen": listen, "server__admin_listen": admin_listen, "log__format": log_format}
    settings = options.settings(config, secrets=True, **given)
    _configure_log(settings)
    command = [] if no_dispatch else _dispatch_command(settings, log_format)
    reloading = _reloading(settings, partial(options.settings, settings.file, secrets=True, quiet=True, **given))
    serving = Serving(settings, dispatch=command, ready=_announce, reloading=reloading)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            _end(runner.run(until_stopped(serving.run(), _signals(serving))))
    except AddressTaken as fault:
        port = settings.server.listen.port
        other = f"{settings.server.listen.host}:{port + 10}" if port else "unix:/another/path"
        click.echo(f"receiver: {fault}.  Try:  receiver serve --listen {other}", err=True)
        return EX_TAKEN


@options.command(
    "receiver dispatch        beside `receiver serve --no-dispatch`, on the same store",
)
@options.config
@click.option("--log-format", type=FORMATS, help="How our own log is written, to standard error.")
@click.option("--lifeline", type=int, hidden=True, help="A socket to the process that started us.")
def dispatch(config: Path | None, log_format: str | None, lifeline: int | None) -> int:
    """Run only the handlers: give each what it is owed of the stored events."""
    import uvloop

    from receiver.dispatching import Dispatching
    from receiver.serving import until_stopped

    quiet = lifeline is not None  # the process that started us has told which configuration it is
    settings = options.settings(config, quiet=quiet, log__format=log_format)
    keys = _configure_log(settings)
    reloading = _reloading(settings, partial(options.settings, settings.file, quiet=True))
    dispatching = Dispatching(settings, lifeline=lifeline, log_keys=keys, reloading=reloading)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        status = runner.run(until_stopped(dispatching.run(), _signals(dispatching)))
        if dispatching.again:
            dispatching.systemd.restore()
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
        _end(status)


def _signals(running: Any) -> dict[int, Callable[[], None]]:
    """What each signal asks for. The end of the terminal it runs on is the end of it; else SIGHUP asks for a reload."""
    hangup = running.stop if sys.stderr.isatty() else running.reload
    return {signal.SIGTERM: running.stop, signal.SIGINT: running.stop, signal.SIGHUP: hangup}


def _reloading(settings: "Settings", read: "Callable[[], Settings]") -> "Reloading":
    from receiver.reloading import Reloading
    from receiver.serving import python

    chosen = ["--config", str(settings.file)] if settings.file else []
    return Reloading(python("check", "--json", *chosen), read)


def _end(status: int) -> NoReturn:
    """End at once, now that all is closed: a thread that waits for a name or for the disk would hold us up."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(status)


def _dispatch_command(settings: "Settings", log_format: str | None) -> list[str]:
    from receiver.serving import python

    chosen = ["--config", str(settings.file)] if settings.file else []
    return python("dispatch", *chosen, *(["--log-format", log_format] if log_format else []))


def _configure_log(settings: "Settings") -> dict[str, Any]:
    from receiver import logs

    logs.catch()
    return logs.configure(settings.log.format, settings.log.level, reveal=settings.log.reveal)


async def _announce(serving: "Serving") -> None:
    """Say where we listen, what we store in, who gets the events, and how to send a first one."""
    import structlog

    from receiver.serving import READY, now

    stats = await serving.store.stats(now())
    took = time.monotonic() - serving.began
    pending = sum(handler.pending for handler in stats.handlers if handler.state != "absent")
    if not sys.stderr.isatty():
        structlog.get_logger().info(
            READY,
            version=__version__,
            seconds=round(took, 2),
            callbacks=serving.addresses["callbacks"],
            admin=serving.addresses.get("admin", ""),
            store=serving.settings.store.shown,
            handlers=sorted(serving.settings.handlers),
            events=stats.events,
            pending=pending,
        )
        return
    for line in _screen(serving, f"{_count(stats.events, 'event')}, {pending} pending", took):
        click.echo(line, err=True)


def _screen(serving: "Serving", counts: str, took: float) -> list[str]:
    settings = serving.settings
    title = "no configuration file: trying things out, reachable from this machine only"
    base = settings.server.public_url or serving.addresses["callbacks"]
    urls = "  and  ".join(f"{base}/in/{name}/…" for name in settings.sources)
    guard = "(no secret; requests that came through a proxy are refused)" if settings.trial else "(receiver urls)"
    admin = serving.addresses.get("admin")
    lines = [
        f"receiver {__version__} · {title if settings.trial else settings.file}",
        f"  callbacks  {urls}      {guard}",
        f"  admin      {admin}/healthz  /readyz  /metrics" if admin else "  admin      off",
        f"  store      {settings.store.shown}  ({_engine(settings)}, {counts})",
        f"  handlers   {', '.join(settings.handlers) or 'none'}",
        f"Ready in {took:.1f} s. Waiting for the next callback. Send one yourself:",
    ]
    name = next((name for name, source in settings.sources.items() if source.provider == "spryng"), None)
    if settings.trial and name:
        url = f"{serving.addresses['callbacks']}/in/{name}/dlr?ID=1&RECIPIENT=31612345678&STATUS=10"
        return [
            *lines,
            f"  receiver simulate spryng          or   curl '{url}'",
            "When you want a public URL:  receiver init",
        ]
    return [*lines, "  receiver simulate spryng          and see it arrive:  receiver events --follow"]


def _engine(settings: "Settings") -> str:
    """Which database, and what makes an answer durable."""
    return "SQLite, synchronous=FULL" if settings.store.path else "PostgreSQL, synchronous_commit=on"


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}".replace(",", " ")
