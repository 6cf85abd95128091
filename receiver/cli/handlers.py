"""The command `handlers`: how each one does, what is available, and what people do to them."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from receiver.cli import opening, options, selecting, show
from receiver.events import micros, stamp
from receiver.store.base import Store
from receiver.store.views import HandlerStats, Standing

if TYPE_CHECKING:
    from receiver.config import Settings

NAME = re.compile(r"[a-z][a-z0-9-]*")
WHO = click.argument("name")


@selecting.listing(
    "receiver handlers                  how they do, and the cure",
    "receiver handlers test crm         one made-up event straight to it",
    "receiver handlers resume crm",
)
@options.as_json
@options.config
def handlers(config: Path | None, as_json: bool) -> None:
    """Show state, done, waiting, oldest, dead and last error of each handler, and which handlers are available."""
    from receiver import plugins

    loaded = opening.settings(config)
    stats = opening.run(loaded, lambda store: store.stats(opening.now()))
    known = {one.handler: one for one in stats.handlers}
    names = [*loaded.handlers, *(name for name in known if name not in loaded.handlers)]
    available = plugins.handlers(loaded.plugins.directory)
    if as_json:
        for name in names:
            show.json_line(_record(name, known.get(name), loaded))
        for name, where in available.items():
            show.json_line({"available": name, "from": where})
        return
    if names:
        show.table(
            ("name", "use", "state", "done", "waiting", "oldest", "dead", "last error", ""),
            [tuple(_row(name, known.get(name), loaded)) for name in names],
        )
    else:
        show.say("No handler is configured; events are stored all the same.")
    show.line()
    for name, where in available.items():
        show.line(f"available: {name:<10} from {show.safe(where)}")


@handlers.command(cls=options.Command, examples=("receiver handlers pause crm --reason 'migration until noon'",))
@WHO
@click.option("--reason", default="", metavar="TEXT", help="Why; shown by `handlers`.")
@options.config
def pause(config: Path | None, name: str, reason: str) -> int:
    """Stop a handler until it is resumed. What runs is finished; what comes waits, nothing is lost."""
    why = reason or "by a person"

    def paused(now: Standing, at: datetime) -> Standing:
        return replace(now, state="paused", since=at, reason=why)

    return _stand(config, name, "pause", paused, reason=reason)


@handlers.command(cls=options.Command, examples=("receiver handlers resume crm",))
@WHO
@options.config
def resume(config: Path | None, name: str) -> int:
    """Let a paused handler go on. One whose target was down is tried at once."""

    def resumed(now: Standing, at: datetime) -> Standing:
        return replace(now, state="ok", since=at, reason="")

    return _stand(config, name, "resume", resumed)


@handlers.command(cls=options.Command, examples=("receiver handlers forget old-crm",))
@WHO
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.config
def forget(config: Path | None, name: str, yes: bool) -> int:
    """Forget a handler that is configured no more: its place, counters and dead letters. Events stay."""

    async def work(store: Store) -> int:
        stats = await opening.handler_stats(store, name)
        if name in loaded.handlers:
            raise opening.Refused(f"{name} is configured; remove [handlers.{name}] from {_file(loaded)} first")
        waiting = f"{show.count(stats.pending, 'event')} waiting, {show.count(stats.dead, 'dead letter')}"
        if not show.agrees(f"Forget {name} ({waiting})?", yes=yes):
            return 1
        forgotten = await store.forget(name)
        show.line(f"{name} is forgotten" if forgotten else f"{name} was forgotten already")
        opening.acted(loaded, "handlers forget", count=int(forgotten), handler=name)
        return 0

    loaded = opening.settings(config)
    return opening.run(loaded, work)


@handlers.command(cls=options.Command, examples=("receiver handlers rename crm sales-crm",))
@click.argument("old")
@click.argument("new")
@options.config
def rename(config: Path | None, old: str, new: str) -> int:
    """Rename a handler; it keeps its place in the log, its counters and dead letters.

    Do it while the receiver is stopped, together with the name of its table in the configuration.
    """
    if not NAME.fullmatch(new):
        raise click.UsageError("a name is made of a-z, 0-9 and -, and begins with a letter")

    async def work(store: Store) -> int:
        await opening.handler_stats(store, old)
        if not await store.rename(old, new):
            raise opening.Refused(f"{new} has a place in the log already; rename before the receiver starts with it")
        show.line(f"{old} is {new} now")
        opening.acted(loaded, "handlers rename", count=1, handler=old, to=new)
        if new not in loaded.handlers:
            show.say(f"Now call its table in {_file(loaded)} [handlers.{new}], and start the receiver.")
        return 0

    loaded = opening.settings(config)
    return opening.run(loaded, work)


@handlers.command(
    cls=options.Command,
    examples=("receiver handlers test crm", "receiver handlers test crm --event 0198c0de-6a1f-7c52-9d6e-0a4c5b6d7e8f"),
)
@WHO
@selecting.event("A stored event instead of a made-up one.")
@options.as_json
@options.config
def test(config: Path | None, name: str, event: str | None, as_json: bool) -> int:
    """Try a handler: give it one made-up or stored event in this process, print verdict, answer and time.

    Nothing is stored, no retry follows. Exit status 1 where the handler did not take it.
    """
    from receiver.cli import tryout

    return tryout.run(opening.settings(config), name, event, as_json=as_json)


def _stand(
    config: Path | None, name: str, act: str, change: Callable[[Standing, datetime], Standing], **what: Any
) -> int:
    loaded = opening.settings(config)

    async def work(store: Store) -> int:
        stats = await opening.handler_stats(store, name)
        now = opening.now()
        wanted = change(stats.standing, now)
        if wanted.state == stats.standing.state:
            show.say(f"{name} is {show.state(wanted.state)} already, {_since(stats.standing, now)}")
            return 0
        await store.stand(wanted, release=wanted.state == "ok", now=now)
        state = "paused" if wanted.state == "paused" else "ok again"
        show.line(f"{name} is {state}; {show.count(stats.pending, 'event')} waiting")
        opening.acted(loaded, f"handlers {act}", count=1, handler=name, **what)
        return 0

    return opening.run(loaded, work)


def _record(name: str, stats: HandlerStats | None, loaded: "Settings") -> dict[str, Any]:
    standing = stats.standing if stats else Standing(name)
    return {
        "handler": name,
        "use": loaded.handlers.get(name, {}).get("use"),
        "configured": name in loaded.handlers,
        "state": _state(name, stats, loaded),
        "since": stamp(standing.since),
        "reason": standing.reason,
        "done": stats.done if stats else 0,
        "waiting": stats.pending if stats else 0,
        "running": stats.running if stats else 0,
        "dead": stats.dead if stats else 0,
        "oldest_pending_at": micros(stats.oldest_pending_at) if stats and stats.oldest_pending_at else None,
        "last_error": standing.last_error,
        "last_error_at": stamp(standing.last_error_at),
    }


def _row(name: str, stats: HandlerStats | None, loaded: "Settings") -> Iterator[object]:
    now = opening.now()
    state = _state(name, stats, loaded)
    standing = stats.standing if stats else Standing(name)
    yield name
    yield loaded.handlers.get(name, {}).get("use", "–")
    yield show.state(state)
    yield stats.done if stats else 0
    yield stats.pending if stats else 0
    yield show.age(stats.oldest_pending_at, now) if stats else "–"
    yield stats.dead if stats else 0
    yield _trouble(standing, now)
    yield _cure(name, state, dead=bool(stats and stats.dead))


def _state(name: str, stats: HandlerStats | None, loaded: "Settings") -> str:
    """`new`: configured, but the receiver has not started with it yet."""
    if name in loaded.handlers and (stats is None or stats.state == "absent"):
        return "new"
    return stats.state if stats else "absent"


def _trouble(standing: Standing, now: datetime) -> str:
    if standing.state != "ok" and standing.since:
        return f"{standing.reason} ({_since(standing, now)})"
    at = f" ({show.clock(standing.last_error_at, now)})" if standing.last_error_at else ""
    return f"{standing.last_error}{at}" if standing.last_error else "–"


def _since(standing: Standing, now: datetime) -> str:
    return f"since {show.clock(standing.since, now)}" if standing.since else "since ever"


def _cure(name: str, state: str, *, dead: bool) -> str:
    """What to type next."""
    cures = {
        "new": "begins when the receiver starts with it",
        "absent": f"receiver handlers forget {name}",
        "paused": f"receiver handlers resume {name}",
        "held": f"receiver handlers test {name}",
    }
    return cures.get(state) or (f"receiver dead --handler {name}" if dead else "")


def _file(loaded: "Settings") -> str:
    return str(loaded.file or "the configuration")
