"""A small file system of its own for a store, to be filled up and to be mounted read-only."""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from drills.verdict import CannotRun

BLOCK = 4096


@contextmanager
def disk(at: Path, mebibytes: int) -> Iterator[None]:
    """A file system in memory. Raises CannotRun where it may not be mounted."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        raise CannotRun("a disk of a few MiB is needed: run it as root, where mount(8) is")
    at.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "drill", str(at)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        raise CannotRun(f"a disk of a few MiB is needed, and may not be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(at)], check=False, capture_output=True)


@contextmanager
def filled(at: Path) -> Iterator[None]:
    """Full for as long as the block lasts, whatever is given back meanwhile."""
    filler, stop = at / "filler", threading.Event()
    fill(filler)
    keeping = threading.Thread(target=_keep_full, args=(filler, stop))
    keeping.start()
    try:
        yield
    finally:
        stop.set()
        keeping.join()
        filler.unlink()


def fill(filler: Path) -> None:
    """Take every block there is."""
    with filler.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(BLOCK))


def _keep_full(filler: Path, stop: threading.Event) -> None:
    while not stop.wait(0.02):
        fill(filler)


@contextmanager
def read_only(at: Path) -> Iterator[None]:
    """Mounted read-only; nobody may have anything open for writing there."""
    subprocess.run(["mount", "-o", "remount,ro", str(at)], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(at)], check=True, capture_output=True)
