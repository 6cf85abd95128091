"""The disk of the store: how much room it has, and how long an answer waits for it."""

import os
import statistics
import tempfile
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from receiver import units
from receiver.cli.doctor.case import Case, aside
from receiver.cli.doctor.finding import Finding, ok, problem, skipped
from receiver.notices import disk_of

ROOM, FLUSH = "disk", "fsync"
WRITES = 40
BYTES = 4096
LONGEST = 4.0
"""Seconds after which no further write begins."""
SLOW = 0.1
"""Seconds of a usual write above which a receiver answers too few callbacks."""
FLEETING = {"tmpfs": "in memory: a reboot takes it", "ramfs": "in memory: a reboot takes it"}
FOREIGN = ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.glusterfs")


async def room(case: Case) -> list[Finding]:
    """How much is free, for those who are not root, and on what kind of file system."""
    return await aside(partial(_room, _existing(case.path.parent))) if case.path else []


async def flushing(case: Case) -> list[Finding]:
    """How long small durable writes take, in the folder of the store."""
    return await aside(partial(_flushing, case.path.parent)) if case.path else []


def _room(folder: Path) -> list[Finding]:
    disk, inodes = disk_of(folder), os.statvfs(folder).f_favail
    facts: dict[str, Any] = {"free_bytes": disk.free, "size_bytes": disk.size}
    words = f"{units.bytes_words(disk.free)} of {units.bytes_words(disk.size)} free on {folder}"
    if disk.is_low(already=False):
        cure = f"make room: du -xh {folder} | sort -h | tail\nor remove what is old enough: receiver prune"
        return [problem(ROOM, f"{words}; when it is full, callbacks are answered 503", cure, **facts)]
    if os.statvfs(folder).f_files and inodes == 0:
        return [problem(ROOM, f"no file can be made on {folder}: no inodes left", f"df -i {folder}", **facts)]
    return [ok(ROOM, words + kind_of(folder), **facts)]


def kind_of(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """What to know of the file system that holds a folder; usually nothing."""
    best, kind = "", ""
    with suppress(OSError):
        for line in mounts.read_text().splitlines():
            before, _, behind = line.partition(" - ")
            point = before.split()[4]
            if len(point) >= len(best) and folder.resolve().is_relative_to(point):
                best, kind = point, behind.split()[0]
    if kind in FLEETING:
        return f" · it lies {FLEETING[kind]}"
    return f" · {kind}: SQLite needs a disk of this machine" if kind in FOREIGN else ""


def _flushing(folder: Path) -> list[Finding]:
    try:
        times = measured(folder)
    except FileNotFoundError:
        return [skipped(FLUSH, f"there is no {folder} yet")]
    except PermissionError:
        return [skipped(FLUSH, f"we may not write to {folder}; try it as root")]
    except OSError as fault:
        return [problem(FLUSH, f"nothing can be written to {folder}: {(fault.strerror or '').lower()}", f"df {folder}")]
    usual, seldom = statistics.median(times), sorted(times)[int(len(times) * 0.99)]
    facts: dict[str, Any] = {"median_ms": round(usual * 1e3, 3), "p99_ms": round(seldom * 1e3, 3), "writes": len(times)}
    words = f"a durable write takes {_ms(usual)} (p99 {_ms(seldom)})"
    if usual > SLOW:
        cure = "every answer waits for it: is the disk busy, failing, or a network's?  iostat -x 1; dmesg | tail"
        return [problem(FLUSH, words, cure, **facts)]
    return [ok(FLUSH, words, **facts)]


def measured(folder: Path) -> list[float]:
    """Seconds of small durable writes in a file that is gone afterwards. Raises OSError."""
    times: list[float] = []
    with tempfile.TemporaryFile(dir=folder, prefix=".doctor-") as file:
        until = time.monotonic() + LONGEST
        while len(times) < WRITES and (not times or time.monotonic() < until):
            began = time.perf_counter()
            os.pwrite(file.fileno(), os.urandom(BYTES), BYTES * len(times))
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    return times


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(place for place in (folder, *folder.parents) if place.is_dir())


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"
