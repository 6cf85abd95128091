"""The machine that is measured on: its cores, what a process used, and what it is."""

import os
import platform
import sqlite3
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from receiver import __version__

ROOT = Path(__file__).parents[1]
TICKS = os.sysconf("SC_CLK_TCK")
SHOWN = ("starlette", "uvicorn", "uvloop", "httptools", "aiosqlite", "pydantic", "fastapi", "sqlalchemy")


def server_cores() -> set[int]:
    """The core of the server that is measured: the first that we may use."""
    return {min(os.sched_getaffinity(0))}


def load_cores() -> set[int]:
    """The core of the load, and of everything else that stands beside the server: the last one."""
    return {max(os.sched_getaffinity(0))}


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and of all its threads so far (proc(5): utime and stime); 0 where it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory(pid: int, line: str = "VmRSS") -> float:
    """MiB of memory that a process has now, or had at most (`VmHWM`)."""
    for row in Path(f"/proc/{pid}/status").read_text().splitlines():
        if row.startswith(f"{line}:"):
            return int(row.split()[1]) / 1024
    return 0.0


def disk(folder: Path) -> str:
    """The kind of file system that a folder is on."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    above = [(len(fields[1]), fields[2]) for fields in mounts if folder.resolve().is_relative_to(fields[1])]
    return max(above)[1] if above else "unknown"


def facts(folder: Path) -> dict[str, str]:
    """What a figure cannot be compared without."""
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": cpu[0].partition(":")[2].strip() if cpu else platform.machine(),
        "receiver": f"{__version__} {_commit()}".strip(),
        "cores": str(len(os.sched_getaffinity(0))),
        "system": f"{platform.system()} {platform.release()}",
        "busy before": f"{os.getloadavg()[0]:.1f} processes on average in the minute before",
        "file system": disk(folder),
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        **{name: found for name in SHOWN if (found := _version(name))},
    }


def _commit() -> str:
    """The commit that is checked out, with `-dirty` where files differ from it; empty outside a checkout."""
    with suppress(OSError):
        asked = ["git", "describe", "--always", "--dirty"]
        return subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, timeout=10, check=False).stdout.strip()
    return ""


def _version(name: str) -> str:
    with suppress(PackageNotFoundError):
        return version(name)
    return ""
