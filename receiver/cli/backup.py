"""The command `backup`: a verified copy of the store as a folder, made while the receiver runs."""

import re
import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from receiver.cli import opening, options, progress, show
from receiver.store.base import Store
from receiver.store.views import Backup

if TYPE_CHECKING:
    from receiver.config import Settings

DATED = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ")


@options.command(
    "receiver backup /var/backups/receiver-today            a new folder with the copy in it",
    "receiver backup /var/backups/receiver --keep 14        for cron: one a day, the newest fourteen stay",
)
@click.argument("dest", metavar="DEST", type=click.Path(path_type=Path))
@click.option(
    "--keep",
    metavar="N",
    type=click.IntRange(1),
    help="DEST holds dated backups: make one more, then remove all but the newest N.",
)
@options.as_json
@options.config
def backup(config: Path | None, dest: Path, keep: int | None, as_json: bool) -> int:
    """Copy the store into a folder, as of one moment, while the receiver runs.

    DEST is a folder that does not exist yet; in one that does, or with --keep, a dated folder is made. It appears whole
    and verified, or not at all. Restoring is putting its files back: docs/how-to/back-up-and-restore.md.
    """
    loaded = opening.settings(config)
    if loaded.store.path is None:
        raise opening.Refused(f"{loaded.store.shown} is backed up by PostgreSQL's own means: pg_dump, or its archive")
    name = loaded.store.path.name
    to = _destination(dest.absolute(), name, within=keep is not None)
    began = opening.now()

    async def work(store: Store) -> tuple[Backup, list[str]]:
        made = await progress.followed(lambda tell: store.backup(to, now=began, tell=tell))
        gone = _too_many(to.parent, name, keep)
        for old in gone:
            shutil.rmtree(old)
        await store.forget_backups(gone)
        return made, gone

    made, gone = opening.run(loaded, work)
    _tell(made, gone, (opening.now() - began).total_seconds(), as_json=as_json)
    _audit(loaded, made, gone)
    return 0


def _destination(dest: Path, name: str, *, within: bool) -> Path:
    """The folder to make. Raises Refused."""
    if (dest / name).exists():
        raise opening.Refused(f"{dest} is a backup already; name another folder, or the one above it")
    if dest.exists() and not dest.is_dir():
        raise opening.Refused(f"{dest} exists already, and is no folder")
    if not dest.parent.is_dir():
        raise opening.Refused(f"there is no folder {dest.parent}")
    if not dest.exists() and not within:
        return dest
    try:
        dest.mkdir(mode=0o750, exist_ok=True)
    except OSError as fault:
        raise opening.Refused(f"{dest}: {fault.strerror}") from None
    return dest / f"{opening.now():%Y-%m-%dT%H-%M-%SZ}"


def _too_many(folder: Path, name: str, keep: int | None) -> list[str]:
    """The dated backups in a folder but the newest."""
    if keep is None:
        return []
    dated = sorted(one for one in folder.iterdir() if DATED.fullmatch(one.name) and (one / name).exists())
    return [str(one) for one in dated[:-keep]]


def _tell(made: Backup, gone: Sequence[str], seconds: float, *, as_json: bool) -> None:
    if as_json:
        show.json_line(
            {
                "path": made.path,
                "made_at": _utc(made.made_at),
                "events": made.events,
                "bytes": made.bytes,
                "removed": gone,
            }
        )
        return
    size = f"{made.bytes / 1024**2:,.1f} MiB".replace(",", " ")
    show.line(f"{show.safe(made.path)}  {show.count(made.events, 'event')}, {size}, verified, in {seconds:.1f} s")
    for old in gone:
        show.line(f"{show.safe(old)}  removed")


def _utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _audit(loaded: "Settings", made: Backup, gone: Sequence[str]) -> None:
    opening.acted(loaded, "backup", count=made.events, path=made.path, bytes=made.bytes, removed=list(gone))
