"""What the commands that look into a store print: JSON lines, tables, times for people, words on standard error."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from receiver import numbers

if TYPE_CHECKING:
    from receiver.events import DeliveryReport

COLOURS = {
    **dict.fromkeys(("delivered", "read", "ok", "done", "✓"), "green"),
    **dict.fromkeys(("failed", "rejected", "expired", "cancelled", "dead", "down", "✗"), "red"),
    **dict.fromkeys(("buffered", "unknown", "paused", "retry", "interrupted", "pending", "warning"), "yellow"),
}
GAP = "  "
LONGEST_CELL = 80
LOOK = 0.5

T = TypeVar("T")


def line(text: str = "") -> None:
    """A line of data, with what it holds made harmless for a terminal already."""
    click.echo(text)


def say(text: str) -> None:
    """Words for people, on standard error."""
    click.echo(text, err=True)


def json_line(facts: Mapping[str, Any] | bytes) -> None:
    """One object as a line of data: no reader takes a character in it for the end of a line, no terminal obeys one."""
    from receiver.logs import UNPRINTABLE

    text = facts.decode() if isinstance(facts, bytes) else json.dumps(facts, ensure_ascii=False)
    click.echo(UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def safe(text: object) -> str:
    r"""A text with everything that a terminal would obey written as `\n`, `\x1b`, `\u202e`."""
    from receiver.logs import UNPRINTABLE

    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), str(text))


def coloured() -> bool:
    """Whether standard output is a terminal on which colours are wanted (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, word: str | None = None) -> str:
    """A text in the colour of a word, by itself of its own; without colours as it is."""
    colour = COLOURS.get((word or text).strip().lower())
    return click.style(text, fg=colour) if colour and coloured() else text


def bold(text: str) -> str:
    """What should be read first."""
    return click.style(text, bold=True) if coloured() else text


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Aligned columns, numbers to the right; the last column is as long as it is."""
    from rich.cells import cell_len

    def padded(cell: str, width: int, *, right: bool) -> str:
        space = " " * (width - cell_len(cell))
        return space + cell if right else cell + space

    shown = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(headers, *shown, strict=True)]
    right = [bool(rows) and all(isinstance(row[at], int) for row in rows) for at in range(len(headers))]
    for number, cells in enumerate([list(headers), *shown]):
        laid = [padded(cell, widths[at], right=right[at]) for at, cell in enumerate(cells)]
        laid[-1] = laid[-1].rstrip()
        line(GAP.join(map(paint, laid) if number else [bold(cell) for cell in laid]).rstrip())


def _cell(value: object) -> str:
    if isinstance(value, int):
        return grouped(value)
    text = safe("–" if value is None else value)
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…"


def grouped(number: int) -> str:
    """18 211"""
    return f"{number:,}".replace(",", " ")


def count(number: int, what: str, several: str = "") -> str:
    """1 event, 18 211 events."""
    return f"{grouped(number)} {what if number == 1 else several or f'{what}s'}"


def listed(names: Sequence[str]) -> str:
    """crm; crm and audit; crm, shop and audit."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def clock(moment: datetime, now: datetime) -> str:
    """The local time, with the date where that is not today."""
    local = moment.astimezone()
    same_day = local.date() == now.astimezone().date()
    return f"{local:%H:%M:%S}" if same_day else f"{local:%Y-%m-%d %H:%M:%S}"


def when(moment: datetime, now: datetime) -> str:
    """The same in a sentence: at 12:51:07; on Thu 20 Nov at 12:51:07."""
    local, today = moment.astimezone(), now.astimezone().date()
    if local.date() == today:
        return f"at {local:%H:%M:%S}"
    year = "" if local.year == today.year else f" {local.year}"
    return f"on {local:%a} {local.day} {local:%b}{year} at {local:%H:%M:%S}"


def age(moment: datetime | None, now: datetime) -> str:
    """How long ago, for a column."""
    from receiver import units

    return units.words(now - moment) if moment else "–"


def ago(moment: datetime | None, now: datetime) -> str:
    """How long ago, in a sentence."""
    return f"{age(moment, now)} ago" if moment else "never"


def took(report: "DeliveryReport") -> str:
    """From the submission to what the report says, by the provider's clock; empty where it does not say."""
    from receiver import units

    if not report.occurred_at or not report.submitted_at or report.occurred_at < report.submitted_at:
        return ""
    return units.words(report.occurred_at - report.submitted_at)


def state(word: str) -> str:
    """A handler's state as people call it."""
    return {"held": "down", "absent": "not configured"}.get(word, word)


def masked(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The `data` of an event with the people in it hidden."""
    shown = dict(facts)
    if shown["kind"] == "notice":
        return shown | {"text": numbers.mask_in(shown["text"])}
    shown |= {key: shown[key] and numbers.mask(shown[key]) for key in ("originator", "recipient")} | {"raw": "***"}
    if shown["kind"] == "mo":
        shown["recipients"] = [numbers.mask(number) for number in shown["recipients"]]
        shown["media"] = [hidden(address) for address in shown["media"]]
        shown |= {key: shown[key] and hidden(shown[key]) for key in ("text", "keyword")}
    return shown


def hidden(text: str) -> str:
    """A text as its length."""
    return f"({count(len(text), 'character')})"


def agrees(question: str, *, yes: bool) -> bool:
    """Whether a person, or `--yes`, wants it done; no answer is no."""
    if yes:
        return True
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        say("")
        agreed = False
    if not agreed:
        say("Nothing was changed. --yes answers for you.")
    return agreed


async def watched(work: Awaitable[T], what: str, *, done: Callable[[], Awaitable[int]], total: int | None = None) -> T:
    """Await some work, with a bar on standard error where that is a terminal. `done` says how far it is."""
    task = asyncio.ensure_future(work)
    if not sys.stderr.isatty():
        return await task
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(what, total=total)
        while not task.done():
            await asyncio.wait({task}, timeout=LOOK)
            progress.update(bar, completed=await done())
    return await task
