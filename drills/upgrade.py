"""The upgrade drill: the oldest version under load, then this one on the same folder, then back, all as documented."""

import asyncio
import json
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drills.audit import Audit
from drills.eyes import SqliteEyes
from drills.kill import free_port
from drills.ledger import Ledger, keeper
from drills.load import Load
from drills.verdict import CannotRun, Verdict
from drills.waiting import until
from drills.yard import DROP_INS, OWN, PATIENCE, ROOT, Command, Yard

BEFORE_TAGS = "6a15e76"
"""Where no version is tagged: the oldest commit whose `serve` and whose store are of the same kind."""
PAGE = ROOT / "docs/how-to/back-up-and-restore.md"
EX_CONFIG = 78
SAMPLE = 20
"""Of what was acknowledged is sent once more by the provider, behind each change of versions."""


@dataclass(frozen=True)
class Plan:
    """What the command line asks for."""

    seed: int
    start: str = ""
    """The version to begin with; empty: the oldest tag."""
    seconds: float = 2.0
    rate: float = 150.0
    broken: str = ""


async def upgrade_drill(plan: Plan) -> Verdict:
    """Go up, and back. Raises CannotRun where the older version is not to be had."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drill-upgrade-")))
        name = plan.start or _oldest()
        older = await asyncio.to_thread(_installed, name, folder / "older")
        (folder / "yard").mkdir()
        yard = await stack.enter_async_context(Yard.opened(folder / "yard", broken=plan.broken))
        return await Upgrading(plan, yard, older, name).run()


def _oldest() -> str:
    """The oldest tag, else BEFORE_TAGS."""
    tags = _git("tag", "--list", "v*", "--sort=creatordate").split()
    return tags[0] if tags else BEFORE_TAGS


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotRun(
            f"git {' '.join(arguments)}: {done.stderr.strip()[-200:]}; the drill needs a clone with its history"
            " (git fetch --unshallow --tags), or --from REF"
        )
    return done.stdout


def _installed(ref: str, folder: Path) -> Path:
    """The wheel of a version, unpacked into a folder of its own; what it needs, it finds where we run."""
    source = folder / "source"
    source.mkdir(parents=True)
    _git("archive", f"--output={folder}/source.tar", _git("rev-parse", "--verify", f"{ref}^{{commit}}").strip())
    shutil.unpack_archive(f"{folder}/source.tar", source, filter="data")
    wheel = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(folder / "lib"),
        str(source),
    ]
    done = subprocess.run(wheel, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotRun(f"the wheel of {ref} cannot be built: {done.stderr.strip()[-300:]}")
    return folder / "lib"


class Upgrading:
    """One run of the drill."""

    def __init__(self, plan: Plan, yard: Yard, older: Path, name: str) -> None:
        self._plan, self._yard = plan, yard
        self._older = {"PYTHONPATH": str(older)}
        self._load = Load(plan.seed, rate=plan.rate, repeats=0.1)
        self._verdict = Verdict("upgrade", plan.seed)
        self._verdict.figures["from"] = name
        self._port = free_port()
        self._url = f"http://127.0.0.1:{self._port}"
        self._database = yard.folder / "receiver.db"

    async def run(self) -> Verdict:
        """Up and back."""
        self._yard.drop_in("own", keeper("own.ledger"))
        self._yard.configure(DROP_INS, OWN)
        try:
            async with self._load.running(self._url):
                older = await self._serve(older=True)
                await self._loaded("by the older one")
                newer = await self._go_up(older)
                await self._loaded("by this one")
            await self._all_there(newer)
            await self._go_back(newer)
        except (AssertionError, TimeoutError) as fault:
            self._verdict.faults.append(f"gave up: {str(fault)[-1000:] or 'too late'}")
        return self._verdict

    async def _serve(self, *, older: bool = False) -> Command:
        return await self._yard.serve("--listen", f"127.0.0.1:{self._port}", **self._env(older=older))

    def _env(self, *, older: bool) -> dict[str, str]:
        """Which receiver the next command is; the older one is never a broken one."""
        self._yard.broken = "" if older else self._plan.broken
        return self._older if older else {}

    async def _loaded(self, by: str) -> None:
        before = len(self._load.acknowledged)
        await asyncio.sleep(self._plan.seconds)
        self._verdict.figures[f"acknowledged {by}"] = len(self._load.acknowledged) - before

    async def _go_up(self, older: Command) -> Command:
        """Stop the older one, start this one; the provider goes on meanwhile, and sends again what was not answered."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        await older.stop()
        newer = await self._serve()
        self._verdict.figures["without answers, s"] = loop.time() - began
        self._verdict.figures["copies before the migration"] = ", ".join(sorted(one.name for one in self._copies()))
        return newer

    def _copies(self) -> list[Path]:
        return sorted(self._yard.folder.glob("receiver*-schema*.db"))

    async def _all_there(self, newer: Command) -> None:
        """Nothing acknowledged by either is lost or stored twice, and the handler had all of it."""
        await self._load.repeat(self._url)
        await self._told_again()
        audit = Audit(SqliteEyes(self._database), self._verdict)
        await until(lambda: self._quiet(older=False), within=PATIENCE)
        await audit.look(self._load.acknowledged)
        await audit.balance()
        self._had(audit)
        await newer.stop()

    async def _told_again(self) -> None:
        """The provider repeats what had long been acknowledged."""
        for message in sorted(self._load.acknowledged)[:SAMPLE]:
            self._load.doubt(message)
        await self._load.repeat(self._url)

    async def _quiet(self, *, older: bool) -> bool:
        status, out, err = await self._yard.run("stats", "--json", **self._env(older=older))
        assert status == 0, err
        told: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines()]
        return not any(one["pending"] or one["running"] for one in told if one.get("handler"))

    def _had(self, audit: Audit) -> None:
        missing = audit.stored.keys() - Ledger.kept(self._yard.folder / "own.ledger").done - {""}
        words = "{} stored events never reached the handler, such as {}"
        self._verdict.must(not missing, words.format(len(missing), min(missing, default="")))

    async def _go_back(self, newer: Command) -> None:
        """As docs/how-to/upgrade.md says."""
        assert newer.process.returncode == 0
        copies = self._copies()
        if copies:
            await self._is_refused()
            self._put_back(copies)
        older = await self._serve(older=True)
        if copies:
            await self._send_again()
        await self._told_again()
        await until(lambda: self._quiet(older=True), within=PATIENCE)
        audit = Audit(SqliteEyes(self._database), self._verdict)
        await audit.look(self._load.acknowledged)
        self._had(audit)
        self._verdict.faults += self._load.wrong
        await older.stop()

    async def _is_refused(self) -> None:
        """The older one does not touch what this one has migrated."""
        command = await self._yard.start("serve", "--listen", f"127.0.0.1:{self._port}", **self._env(older=True))
        status = await command.ended()
        told = status == EX_CONFIG and "newer version" in command.words
        self._verdict.must(told, f"the older version ended with {status} on a newer store: {command.words[-200:]}")

    def _put_back(self, copies: list[Path]) -> None:
        folder = self._yard.folder
        (folder / "set-aside").mkdir()
        for file in (*folder.glob("receiver.db*"), *folder.glob("receiver.dispatch.db*")):
            file.rename(folder / "set-aside" / file.name)
        for copy in copies:
            shutil.copy(copy, folder / f"{re.sub(r'-schema[0-9]+$', '', copy.stem)}.db")

    async def _send_again(self) -> None:
        """What this version acknowledged, by the program of the page."""
        (program,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
        folder = self._yard.folder
        (folder / "send_again.py").write_text(program)
        (log,) = [copy for copy in self._copies() if ".dispatch" not in copy.name]
        given = [
            sys.executable,
            str(folder / "send_again.py"),
            str(folder / "set-aside/receiver.db"),
            str(log),
            self._url,
        ]
        sending = await asyncio.create_subprocess_exec(*given, stdout=subprocess.PIPE)
        out, _ = await asyncio.wait_for(sending.communicate(), PATIENCE)
        outcomes = out.decode().split()
        self._verdict.figures["sent again to the older one"] = len(outcomes)
        self._verdict.must(sending.returncode == 0, "send_again.py failed")
        self._verdict.must(set(outcomes) <= {"stored", "duplicate"}, f"sent again: {set(outcomes)}")
