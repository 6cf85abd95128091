"""Does the faults one after the other, each to a receiver of its own, and puts what was seen into one table."""

import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from drills.faults import crowd, disk, files, mount, system  # noqa: F401 - each registers its faults
from drills.faults.scene import Scene
from drills.faults.table import FAULTS, Fault
from drills.meddle import Meddler
from drills.verdict import CannotRun, Verdict
from drills.yard import Yard

WORDS = 400
"""Characters of what a receiver said that a verdict quotes, from the end."""


def chosen(only: Sequence[str], *, everything: bool) -> list[str]:
    """The names of the faults to do. Ends where one is not known."""
    if unknown := [name for name in only if name not in FAULTS]:
        raise SystemExit(f"no fault {unknown[0]!r}; there are: {', '.join(FAULTS)}")
    return list(only) or [name for name, fault in FAULTS.items() if everything or fault.short]


def told() -> str:
    """The list of faults, for people."""
    width = max(map(len, FAULTS))
    lines = [f"{'*' if one.short else ' '} {one.name:<{width}}  {one.work.__doc__}" for one in FAULTS.values()]
    return "\n".join(lines)


async def drill(
    *, seed: int, names: Sequence[str], seconds: float, broken: str = "", stops: int = 5, burst: float = 1.5
) -> Verdict:
    """Do these faults; none begins after so many seconds. Raises CannotRun where none can be done here."""
    verdict, began, skipped = Verdict("fault", seed), time.monotonic(), ""
    for name in names:
        if time.monotonic() - began > seconds:
            verdict.count("left out, the time was over")
            continue
        try:
            verdict.rows[name] = await _do(FAULTS[name], verdict, seed, broken, stops=stops, burst=burst)
            verdict.count("faults done")
        except CannotRun as reason:
            skipped = verdict.figures[f"{name} SKIPPED"] = str(reason)
    if skipped and not verdict.rows:
        raise CannotRun(skipped)
    verdict.figures["seconds"] = round(time.monotonic() - began, 1)
    return verdict


async def _do(fault: Fault, verdict: Verdict, seed: int, broken: str, **sizes: float) -> dict[str, object]:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fault-") as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "disk").mkdir()
        if fault.disk:
            stack.enter_context(mount.disk(folder / "disk", fault.disk))
        meddler = Meddler(folder / "disk")
        stack.callback(meddler.close)
        async with Yard.opened(folder, broken=broken) as yard:
            yard.database = "disk/receiver.db"
            scene = Scene(fault.name, yard, meddler, verdict, seed)
            scene.stops, scene.burst = int(sizes["stops"]), sizes["burst"]
            try:
                await fault.work(scene)
            except (AssertionError, TimeoutError, OSError) as unmet:
                at = traceback.extract_tb(unmet.__traceback__)[1]
                scene.note(f"at {at.line}: {str(unmet)[-WORDS:] or type(unmet).__name__}")
            finally:
                meddler.calm()
        scene.row["seconds"] = round(time.monotonic() - began, 1)
    return scene.row
