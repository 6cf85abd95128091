"""The restore drill: a backup under load, then everything is lost but the backup, which is put back as documented."""

import asyncio
import json
import shutil
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from drills.audit import Audit
from drills.eyes import SqliteEyes
from drills.kill import free_port
from drills.ledger import Ledger, keeper
from drills.load import Load
from drills.verdict import Verdict
from drills.waiting import until
from drills.yard import DROP_INS, OWN, PATIENCE, Command, Yard
from receiver.store.sqlite import SqliteStore
from receiver.store.views import Selector

QUICK = '[handlers.audit]\nuse = "log"\nfile = "audit.jsonl"\nreveal = true\n'
HANDLERS = ("audit", "own")
SLOWER = 0.02
"""Seconds that the handler `own` takes, so that something waits when the backup is made."""


@dataclass(frozen=True)
class Plan:
    """What the command line asks for."""

    seed: int
    seconds: float = 2.0
    """Of load before the backup and after it."""
    rate: float = 200.0
    broken: str = ""


async def restore_drill(plan: Plan) -> Verdict:
    """Back up under load, lose everything, put it back, and compare."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drill-restore-")))
        yard = await stack.enter_async_context(Yard.opened(folder, broken=plan.broken))
        return await Restoring(plan, yard).run()


class Restoring:
    """One run of the drill."""

    def __init__(self, plan: Plan, yard: Yard) -> None:
        self._plan, self._yard = plan, yard
        self._load = Load(plan.seed, rate=plan.rate)
        self._verdict = Verdict("restore", plan.seed)
        self._port = free_port()
        self._backup = yard.folder / "backup"

    async def run(self) -> Verdict:
        """All of it."""
        self._yard.drop_in("own", keeper("own.ledger", pause=SLOWER))
        self._yard.configure(DROP_INS, QUICK, OWN + "concurrency = 2\n")
        try:
            serve = await self._serve()
            async with self._load.running(serve.url):
                acknowledged = await self._back_up()
                await asyncio.sleep(self._plan.seconds)
            given = self._given()
            await serve.kill(*serve.family)
            self._wipe()
            done = await self._in_backup()
            self._put_back()
            await self._goes_on(acknowledged, given, done)
        except (AssertionError, TimeoutError) as fault:
            self._verdict.faults.append(f"gave up: {str(fault)[-1000:] or 'too late'}")
        return self._verdict

    async def _serve(self) -> Command:
        return await self._yard.serve("--listen", f"127.0.0.1:{self._port}")

    async def _back_up(self) -> set[str]:
        """Back up in the middle of the load. What had been acknowledged before."""
        await asyncio.sleep(self._plan.seconds)
        figures, calm = self._verdict.figures, self._load.quantile(0.99)
        before, self._load.times = set(self._load.acknowledged), []
        status, out, err = await self._yard.run("backup", str(self._backup), "--json")
        self._verdict.must(status == 0, f"the backup failed: {err[-300:]}")
        figures |= {"answers, p99 s": calm, "during the backup, p99 s": self._load.quantile(0.99)}
        figures |= {"acknowledged before the backup": len(before), "in the backup": json.loads(out)["events"]}
        return before

    def _given(self) -> dict[str, Ledger]:
        folder = self._yard.folder
        return {"audit": Ledger.logged(folder / "audit.jsonl"), "own": Ledger.kept(folder / "own.ledger")}

    def _wipe(self) -> None:
        """The disk is gone."""
        for file in self._yard.folder.glob("receiver*.db*"):
            file.unlink()

    def _put_back(self) -> None:
        """As docs/how-to/back-up-and-restore.md says: both files, and nothing beside them."""
        for file in self._backup.glob("receiver*.db"):
            shutil.copy(file, self._yard.folder)

    async def _in_backup(self) -> dict[str, set[str]]:
        """What the handlers were through with when the backup was made, by what is in it; looked at in a copy."""
        look = self._yard.folder / "look"
        shutil.copytree(self._backup, look)
        store = await SqliteStore.open(look / "receiver.db", "command")
        done: dict[str, set[str]] = {handler: set() for handler in HANDLERS}
        try:
            async for stored in store.events(Selector()):
                for line in (await store.trace(stored)).dispatches:
                    if line.state == "done":
                        done[line.handler].add(stored.event.message_id or "")
        finally:
            await store.close()
        return done

    async def _goes_on(self, acknowledged: set[str], given: dict[str, Ledger], done: dict[str, set[str]]) -> None:
        """All acknowledged before is there, none is skipped, and only what was not done in the backup is repeated."""
        serve = await self._serve()
        audit = Audit(SqliteEyes(self._yard.folder / "receiver.db"), self._verdict)
        await audit.look(acknowledged)
        await until(lambda: self._quiet(audit), within=PATIENCE)
        after = self._given()
        for one in (await audit.balance()).handlers:
            self._compare(one.handler, audit.stored, (given[one.handler], after[one.handler]), done[one.handler])
        gone = self._load.acknowledged - audit.stored.keys()
        self._verdict.figures["acknowledged after it, and gone"] = len(gone)
        self._verdict.faults += self._load.wrong
        await serve.stop()

    async def _quiet(self, audit: Audit) -> bool:
        return not any(one.pending or one.running for one in (await audit.balance()).handlers)

    def _compare(self, handler: str, stored: Counter[str], given: tuple[Ledger, Ledger], done: set[str]) -> None:
        before, after = given
        missing = stored.keys() - after.done - {""}
        words = f"{handler}: {{}} events of the backup never reached it, such as {{}}"
        self._verdict.must(not missing, words.format(len(missing), min(missing, default="")))
        again = {message for message, times in after.given.items() if times > before.given[message] > 0}
        wrongly = again & done
        words = f"{handler}: {{}} events were repeated that were done in the backup, such as {{}}"
        self._verdict.must(not wrongly, words.format(len(wrongly), min(wrongly, default="")))
        self._verdict.figures[f"{handler}: done in the backup, repeated"] = f"{len(done)}, {len(again)}"
