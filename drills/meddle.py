"""The drill's hand on a receiver's system calls: `meddle.c` compiled, and the numbers that steer it."""

import mmap
import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from drills.verdict import CannotRun

SOURCE = Path(__file__).with_name("meddle.c")
FIELDS = (
    *("sequence", "recording", "fsync_errno", "fsync_failures", "write_errno", "write_failures", "fsync_delay"),
    *("clock_offset", "die_at", "die_how", "dns", "files", "die_pid", "fsyncs", "writes", "die_on"),
)
"""In the order of meddle.c. Delays and offsets are microseconds; failures count down, -1 is for ever."""
SIZE = 64 * 8
BEFORE, HALFWAY, AFTER = range(3)
A_WRITE, AN_FSYNC = 1, 2
LOG, LOG_WAL, DISPATCH, DISPATCH_WAL, OTHER, FOLDER = (1 << bit for bit in range(6))
DNS_FAILS, DNS_HANGS = 1, 2


class Meddler:
    """Meddles with all processes that are given its `env`. Each field of FIELDS can be read and set as an attribute.

    `die_at` is the operation (by `sequence`) at which the process that makes it ends itself by SIGKILL, `die_how` says
    whether before, halfway through or after it, `die_on` whether it has to be a write or an fsync. `files` limits
    everything to some kinds of files.
    """

    def __init__(self, folder: Path, *, record: Path | None = None) -> None:
        """Files below `folder` are concerned. Raises CannotRun where there is no C compiler."""
        self._control = Path(tempfile.mkstemp(prefix="drill-control-")[1])
        self._control.write_bytes(bytes(SIZE))
        with self._control.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), SIZE)
        self.env = {
            "LD_PRELOAD": str(library()),
            "DRILL_FOLDER": str(folder.resolve()),
            "DRILL_CONTROL": str(self._control),
        }
        if record:
            self.env["DRILL_RECORD"] = str(record)

    def __getattr__(self, name: str) -> int:
        if name not in FIELDS:
            raise AttributeError(name)
        return int(struct.unpack_from("q", self._page, FIELDS.index(name) * 8)[0])

    def __setattr__(self, name: str, value: Any) -> None:
        if name in FIELDS:
            struct.pack_into("q", self._page, FIELDS.index(name) * 8, int(value))
        else:
            super().__setattr__(name, value)

    def calm(self) -> None:
        """Stop meddling; what was counted and whether is recorded stays."""
        for name in FIELDS:
            if name not in ("sequence", "recording", "fsyncs", "writes"):
                setattr(self, name, 0)

    def close(self) -> None:
        """Let go of the control file; processes that still run go on unmeddled with."""
        self.calm()
        self._page.close()
        self._control.unlink()


def library() -> Path:
    """The compiled library, built once for each version of its source. Raises CannotRun without a C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise CannotRun("a C compiler is needed (Debian: apt install gcc libc6-dev)")
    folder = Path(tempfile.gettempdir()) / f"drills-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    built = folder / f"meddle-{SOURCE.stat().st_mtime_ns:x}.so"
    if not built.exists():
        partly = built.with_suffix(f".{os.getpid()}")
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", partly, SOURCE, "-ldl"], check=True)
        partly.replace(built)
    return built
