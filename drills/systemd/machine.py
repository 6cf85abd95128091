"""A Debian 12 in a folder, started by systemd-nspawn with systemd as its first process; only loopback for a network."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from drills.verdict import CannotRun
from drills.waiting import until
from receiver import __version__

ROOT = Path(__file__).parents[2]
PROGRAMS = ("debootstrap", "systemd-nspawn", "nsenter", "setpriv")
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "receiver", "handlers", "deploy", "systemd")
PACKAGES = "systemd,systemd-sysv,dbus,python3-venv,ca-certificates,procps"
SUITE, PYTHON = "bookworm", "3.11"
MIRROR = "http://deb.debian.org/debian"
BOOTS_WITHIN, ENDS_WITHIN = 120.0, 60.0
CLEAN = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    status: int
    out: str


async def run(*words: str | Path, env: Mapping[str, str] | None = None) -> Done:
    """Run a command to its end; what it says on both ways together."""
    process = await asyncio.create_subprocess_exec(
        *map(str, words),
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        out, _ = await process.communicate()
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):
            process.kill()
        raise
    return Done(process.returncode or 0, out.decode("utf-8", "replace"))


async def must(*words: str | Path, env: Mapping[str, str] | None = None) -> str:
    """Run a command that has to succeed. Raises CannotRun with what it said."""
    done = await run(*words, env=env)
    if done.status:
        raise CannotRun(f"{' '.join(map(str, words))[:120]}: {done.out[-500:]}")
    return done.out


def check() -> None:
    """Raises CannotRun where the machine lacks something."""
    if os.geteuid() != 0:
        raise CannotRun("it needs root, to start a Debian of its own")
    if missing := [name for name in PROGRAMS if not shutil.which(name, path=CLEAN["PATH"])]:
        raise CannotRun(f"without {', '.join(missing)} (Debian: apt install debootstrap systemd-container)")


async def debian(folder: Path) -> None:
    """Make the system, which takes minutes, where the folder does not hold one yet."""
    if not (folder / "etc/debian_version").exists():
        await must("debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, folder, MIRROR)


async def wheels(folder: Path) -> None:
    """Build our wheel, of a copy, and fetch those it needs, for the Python of that Debian."""
    pip, copy = (sys.executable, "-m", "pip"), folder.with_name("source")
    await must("mkdir", copy)
    await must("cp", "--recursive", *(ROOT / name for name in SOURCES), copy)
    await must(*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, copy)
    for_debian = ("--only-binary=:all:", "--python-version", PYTHON)
    ours = folder / f"sms_receiver-{__version__}-py3-none-any.whl"
    await must(*pip, "download", "--quiet", *for_debian, "--dest", folder, ours)


@dataclass
class Machine:
    """A running system, and a way to do things in it."""

    root: Path
    leader: int = 0
    """Its first process, as we see it."""
    journal: list[str] = field(default_factory=list)

    async def sh(self, script: str) -> Done:
        """Run a line of shell as its root."""
        inside = ("nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-n", "-p", "-C")
        return await run(*inside, "env", "-i", *(f"{key}={value}" for key, value in CLEAN.items()), "sh", "-c", script)

    async def show(self, unit: str, key: str) -> str:
        """One property of a unit."""
        return (await self.sh(f"systemctl show {unit} -p {key} --value")).out.strip()

    async def active(self, *units: str) -> bool:
        """Whether all of these run."""
        told = (await self.sh(f"systemctl is-active {' '.join(units)}")).out.split()
        return told == ["active"] * len(units)


@asynccontextmanager
async def booted(root: Path) -> AsyncIterator[Machine]:
    """Start the system that is in a folder, and end it with the block."""
    with (root.parent / "console.log").open("wb") as console:
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "TERM"),  # it shuts its system down at SIGTERM, and must not outlive us
            *("systemd-nspawn", "--quiet", "--boot", "--directory", str(root), "--machine", f"drill-{os.getpid()}"),
            *("--register=no", "--keep-unit", "--private-network", "--link-journal=no"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=console,
            stderr=console,
        )
    machine = Machine(root)
    try:
        await until(lambda: _serves(machine, process), within=BOOTS_WITHIN)
        yield machine
    finally:
        with suppress(ProcessLookupError, TimeoutError):
            process.terminate()
            await asyncio.wait_for(process.wait(), ENDS_WITHIN)
        if process.returncode is None:
            process.kill()
            await process.wait()


def _child(pid: int) -> int:
    """The only child of a process; 0 where it has none yet."""
    with suppress(OSError):
        return int((Path(f"/proc/{pid}/task/{pid}/children").read_text().split() or ["0"])[0])
    return 0


async def _serves(machine: Machine, process: asyncio.subprocess.Process) -> bool:
    if process.returncode is not None:
        console = (machine.root.parent / "console.log").read_text(errors="replace")
        raise CannotRun(f"the system did not start: {console[-500:]}")
    machine.leader = _child(process.pid)  # at first it is one that only makes the real one
    return bool(machine.leader) and await machine.active("basic.target", "dbus.socket")
