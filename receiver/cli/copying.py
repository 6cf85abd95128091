"""The command `copy`: a whole store into another one, on SQLite or PostgreSQL."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic import ValidationError

from receiver.cli import opening, options, progress, show
from receiver.store.transfer import Compared

if TYPE_CHECKING:
    from receiver.config import Store

GOES_ON = "Interrupted. The same command goes on where it was; until then no receiver opens the target."


def _url(_ctx: click.Context, _parameter: click.Parameter, given: str | None) -> "Store | None":
    from receiver.config import Store

    if given is None:
        return None
    try:
        return Store.model_validate({"url": given})
    except ValidationError as fault:
        raise click.BadParameter(fault.errors()[0]["msg"].removeprefix("Value error, ")) from None


@options.command(
    "receiver copy --to postgresql://receiver@db.example.com/receiver        all of the configured store",
    "receiver copy --from sqlite:///receiver.db --to postgresql://receiver@db.example.com/receiver",
    "receiver copy --from postgresql://receiver@db.example.com/receiver --to sqlite:///receiver.db",
)
@click.option("--from", "source", metavar="URL", callback=_url, help="The store. Default: store.url.")
@click.option("--to", "target", metavar="URL", required=True, callback=_url, help="A new one, or an unfinished copy.")
@options.as_json
@options.config
def copy(config: Path | None, source: "Store | None", target: "Store", as_json: bool) -> int:
    """Copy a whole store into an empty one: events with their ids, what handlers did and have still to do, all of it.

    Stop the receiver before. An interrupted copy goes on when it is called again. At its end both stores are read and
    compared, and only then the new one can be used. The store itself stays as it is: docs/how-to/move-to-postgresql.md.
    """
    loaded = opening.settings(config)
    source = source or loaded.store
    if source.url == target.url:
        raise click.UsageError("--from and --to name the same store")
    began = opening.now()
    try:
        compared = asyncio.run(_copied(source, target))
    except KeyboardInterrupt:
        show.say(GOES_ON)
        raise
    seconds = (opening.now() - began).total_seconds()
    events = next((one.records for one in compared if one.kind == "events"), 0)
    _tell(source, target, compared, seconds, as_json=as_json)
    opening.acted(loaded, "copy", count=events, source=source.shown, target=target.shown)
    return 0


async def _copied(source: "Store", target: "Store") -> list[Compared]:
    from receiver import storing
    from receiver.store import transfer

    async with AsyncExitStack() as opened:
        here = await storing.open_move(source)
        opened.push_async_callback(here.close)
        there = await storing.open_move(target, create=True)
        opened.push_async_callback(there.close)
        return await progress.followed(lambda tell: transfer.copy(here, there, now=opening.now(), tell=tell))


def _tell(source: "Store", target: "Store", compared: Sequence[Compared], seconds: float, *, as_json: bool) -> None:
    if as_json:
        told: dict[str, Any] = {"from": source.shown, "to": target.shown, "seconds": round(seconds, 1)}
        records = {one.kind: {"count": one.records, "checksum": one.checksum} for one in compared}
        show.json_line({**told, "records": records})
        return
    show.table(["RECORDS", "COUNT", "CHECKSUM"], [[one.kind, one.records, one.checksum] for one in compared])
    show.say(f"Equal in both: {show.safe(source.shown)} and {show.safe(target.shown)}, in {seconds:.1f} s.")
    show.say("Now change store.url, and start the receiver.")
