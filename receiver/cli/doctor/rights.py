"""Whether the receiver may read and write what it has to, and others may not."""

import os
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from receiver.cli import show
from receiver.cli.doctor.case import Account, Case, aside
from receiver.cli.doctor.finding import Finding, ok, problem, skipped
from receiver.store.sqlite.files import dispatch_path

CHECK = "permissions"
OTHERS_READ, OTHERS_WRITE = 0o004, 0o002
BESIDE = ("", "-wal", "-shm", ".lock", ".reserve")
"""What stands beside a database under its name."""
FLAGS = {"r": os.R_OK, "w": os.W_OK, "x": os.X_OK}
WORDS = {"r": "read", "w": "write", "x": "enter"}


class Place(NamedTuple):
    """A file or folder: what the receiver has to be allowed there, and what others must not."""

    path: Path
    wants: str
    """Of r, w and x."""
    private: bool


async def permissions(case: Case) -> list[Finding]:
    """The configuration, the files of secrets, the folder of handlers, the store."""
    return await aside(partial(_permissions, case))


def _permissions(case: Case) -> list[Finding]:
    account, places = case.account(), [place for place in _places(case) if os.path.lexists(place.path)]
    found = [finding for place in places for finding in _judge(place, account)]
    if found:
        return found
    if account.uid not in (os.geteuid(), 0) and os.geteuid() != 0:
        return [skipped(CHECK, f"the receiver runs as {account.name}; only root can tell what that user may")]
    as_root = "; nothing needs it to be root: receiver init --system" if account.uid == 0 and case.holders()[0] else ""
    count = show.count(len(places), "file or folder", "files and folders")
    return [ok(CHECK, f"as they should be, for {account.name}: {count}{as_root}")]


def _places(case: Case) -> Iterator[Place]:
    settings = case.settings
    if settings.file:
        yield Place(settings.file, "r", settings.literals)
        for path in _secret_files(settings.file):
            yield Place(path, "r", private=True)
    if directory := settings.plugins.directory:
        yield Place(directory, "rx", private=False)
        for path in sorted(directory.glob("*.py")):
            yield Place(path, "r", private=False)
    store = settings.store.path
    if store is None:
        return
    yield Place(store.parent, "rwx", private=False)
    for path in (store, dispatch_path(store)):
        for ending in BESIDE:
            yield Place(path.with_name(f"{path.name}{ending}"), "rw", private=True)


def _judge(place: Place, account: Account) -> Iterator[Finding]:
    path = place.path
    try:
        mode = path.stat().st_mode
    except OSError as fault:
        yield problem(CHECK, f"{path}: {(fault.strerror or 'cannot be looked at').lower()}", f"ls -l {path.parent}")
        return
    if mode & OTHERS_WRITE:
        yield problem(CHECK, f"others may write {path}", f"chmod o-w {path}")
    if place.private and mode & OTHERS_READ:
        yield problem(CHECK, f"others may read {path}", f"chmod o-rwx {path}")
    for want in place.wants:
        if may(account, path, want) is False:
            fix = f"chown {account.name} {path}" if want == "w" else f"chgrp {account.name} {path}; chmod g+r {path}"
            words = f"{account.name} may not {WORDS[want]} {path}"
            yield problem(CHECK, words, f"{fix}      (and the folders above it: namei -l {path})")
            return


def may(account: Account, path: Path, want: str) -> bool | None:
    """Whether an account may do that, as the kernel sees it; None where only root could find out."""
    if account.uid == os.geteuid():
        return os.access(path, FLAGS[want])
    if os.geteuid() != 0:
        return None
    groups = os.getgrouplist(account.name, account.gid) if not account.name.isdecimal() else [account.gid]
    command = ["/usr/bin/test", f"-{want}", str(path)]
    with suppress(OSError, subprocess.SubprocessError):
        who: dict[str, Any] = {"user": account.uid, "group": account.gid, "extra_groups": groups}
        asked = subprocess.run(command, check=False, cwd="/", timeout=5, **who)
        return bool(asked.returncode == 0)
    return None


def _secret_files(file: Path) -> Iterator[Path]:
    """The files that the configuration names as secrets: { file = "…" }."""
    with suppress(OSError, ValueError):
        for name in _named(tomllib.loads(file.read_text("utf-8"))):
            yield file.parent / name


def _named(given: Any) -> Iterator[str]:
    if isinstance(given, dict):
        if given.keys() == {"file"} and isinstance(given["file"], str):
            yield given["file"]
        for value in given.values():
            yield from _named(value)
    elif isinstance(given, list):
        for value in given:
            yield from _named(value)
