"""How the demo is shown: a table that changes, or lines where there is no terminal."""

from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from receiver.cli import show
from receiver.cli.demo.scene import Scene
from receiver.store.views import HandlerStats

if TYPE_CHECKING:
    from rich.console import RenderableType

EACH = 2.0
"""Seconds between two lines."""
USES = {"log": "log: a line for each", "shop": "forward: signed POSTs", "mail": "email: all of 3 s in one"}
STYLES = {"down": "red", "paused": "yellow"}


class View(Protocol):
    """Where the demo is shown."""

    def show(self, scene: Scene) -> None:
        """Show how it stands."""


class Lines:
    """A line every two seconds. Use it with `with`."""

    def __init__(self) -> None:
        self._next = 0.0
        self._away = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, scene: Scene) -> None:
        """Print a line, if it is time for one or the shop leaves or returns."""
        if scene.shop.away != self._away:
            self._away = scene.shop.away
            show.line(f"{scene.now:4.0f} s  the shop's server {'answers 503 from now on' if self._away else 'is back'}")
        if scene.now < self._next:
            return
        self._next = scene.now + EACH
        sent = "  ".join(f"{what} {scene.total(what)}" for what in ("sent", "stored", "duplicates"))
        show.line(f"{scene.now:4.0f} s  {sent}  ·  {'  '.join(map(_words, scene.handlers))}")


class Screen:
    """A table that is drawn anew. Use it with `with`."""

    def __enter__(self) -> Self:
        from rich.live import Live

        self._live = Live(auto_refresh=False)
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, raised, trace)

    def show(self, scene: Scene) -> None:
        """Draw it."""
        self._live.update(drawn(scene), refresh=True)


def drawn(scene: Scene) -> "RenderableType":
    """The tables, for rich."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    providers = Table("provider", box=None, pad_edge=False)
    for title in ("sent", "stored", "duplicates", "refused", "half answered within"):
        providers.add_column(title, justify="right")
    for name, run in scene.runs.items():
        tally = run.tally
        counts = (tally.sent, tally.stored, tally.duplicates, tally.refused)
        within = f"{tally.quantile(0.5).total_seconds() * 1e3:.1f} ms"
        providers.add_row(name, *map(show.grouped, counts), within)
    handlers = Table("handler", "", box=None, pad_edge=False)
    for title in ("done", "waiting"):
        handlers.add_column(title, justify="right")
    handlers.add_column("state")
    for one in scene.handlers:
        state = show.state(one.state)
        waiting = show.grouped(one.pending + one.running)
        said = Text(state, style=STYLES.get(state, "green"))
        handlers.add_row(one.handler, USES.get(one.handler, ""), show.grouped(one.done), waiting, said)
    return Group(Text(_title(scene), style="bold"), "", providers, "", handlers, "", _what_happens(scene))


def _title(scene: Scene) -> str:
    return f"receiver demo · {min(scene.now, scene.seconds):.0f} of {scene.seconds:.0f} s · Ctrl-C ends it"


def _what_happens(scene: Scene) -> str:
    leaves, returns = scene.away
    if not scene.sending:
        return "No more is sent; what waits is handed on."
    if scene.now < leaves:
        return "All is well. Soon the shop's server will be in trouble."
    if scene.shop.away:
        return f"The shop's server answers 503. What is for it waits; it returns in {returns - scene.now:.0f} s."
    return "The shop's server is back, and gets what waited, in order."


def _words(one: HandlerStats) -> str:
    waiting = one.pending + one.running
    state = f"{show.state(one.state)}, " if one.state != "ok" else ""
    return f"{one.handler} {one.done}{f' ({state}{waiting} waiting)' if waiting or state else ''}"
