"""The real receiver on what a cut left: it says ready, and gives every handler what it had not been given before."""

import shutil
from pathlib import Path

from drills.powercut.looking import Cut, rebuilt
from drills.powercut.stage import FIRST, HANDLERS, THEN, WORDS, Recording, furnish, ledger
from drills.verdict import Verdict
from drills.yard import Yard


async def restart(recording: Recording, cut: Cut, folder: Path, verdict: Verdict, *, broken: str = "") -> None:
    """Start it there, wait until there is nothing left to do, and compare."""
    for _ in rebuilt(recording, [cut], folder):
        pass
    where = f"restarted behind {cut.moment} ({cut.model})"
    try:
        async with Yard.opened(folder, broken=broken) as yard:
            furnish(yard, FIRST, THEN)
            serve = await yard.serve(DRILL_LEDGER=str(folder / "ledger"))
            verdict.count("restarts")
            ready = float((await serve.says("ready"))["seconds"])
            verdict.figures["slowest restart"] = max(verdict.figures.get("slowest restart", 0.0), ready)
            for handler in HANDLERS:
                await yard.settled(handler)
            stored = {event.message_id for event in await yard.events() if event.kind == "dlr"}
            await serve.stop()
    except (AssertionError, TimeoutError) as fault:
        verdict.faults.append(f"{where}: {str(fault)[-WORDS:] or 'not in time'}")
        return
    _compare(recording, cut, ledger(folder / "ledger"), {str(one) for one in stored}, where, verdict)
    shutil.rmtree(folder, ignore_errors=True)


def _compare(
    recording: Recording, cut: Cut, again: dict[str, dict[str, int]], stored: set[str], where: str, verdict: Verdict
) -> None:
    lost = recording.acknowledged_by(cut.moment) - stored
    verdict.must(not lost, f"{where}: {len(lost)} acknowledged messages are not stored")
    for handler in HANDLERS:
        before, after = recording.done_by(handler, cut.moment), again[handler].keys()
        missed = recording.owed(handler, stored) - before - after
        verdict.count("given again", len(before & after))
        verdict.must(not missed, f"{where}: {handler} was never given {len(missed)} of {len(stored)} stored messages")
