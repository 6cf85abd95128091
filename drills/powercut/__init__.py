"""The power-cut drill: at any operation, the disk that a power cut would leave has all that was promised."""

import asyncio
import multiprocessing
import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random

import click

from drills.powercut import tape
from drills.powercut.disk import MODELS
from drills.powercut.looking import LAWS, Cut, Finding, inspect, unexplained
from drills.powercut.restart import restart
from drills.powercut.stage import WORDS, Recording, record
from drills.verdict import Verdict

SCRATCH = "/dev/shm" if os.path.isdir("/dev/shm") else None
"""Where disks are rebuilt: in memory, where that can be."""
CUTS_A_RESTART = 500
FEWEST_RESTARTS = 2


def models_of(names: str) -> list[str]:
    """The models of a list with commas; all where it is empty. Raises BadParameter for one that is not known."""
    chosen = [name.strip() for name in names.split(",")] if names else list(MODELS)
    if unknown := set(chosen) - set(MODELS):
        raise click.BadParameter(f"no model {min(unknown)}; known: {', '.join(MODELS)}")
    return chosen


async def drill(
    *,
    seed: int,
    cuts: int,
    seconds: float,
    within: float,
    models: Sequence[str] = tuple(MODELS),
    restarts: int | None = None,
    broken: str = "",
) -> Verdict:
    """Record `seconds` of load, and make so many cuts into it, in at most `within` seconds."""
    verdict = Verdict("powercut", seed)
    until = time.monotonic() + within
    with tempfile.TemporaryDirectory(prefix="drill-powercut-") as folder:
        try:
            recording = await record(Path(folder), verdict, seconds=seconds, broken=broken)
            assert recording.acknowledged, "nothing was acknowledged"
            assert not (files := unexplained(recording)), f"not all was recorded of {files}"
        except (AssertionError, TimeoutError) as fault:
            verdict.faults.append(f"the recorded run: {str(fault)[-WORDS:] or 'not in time'}")
            return verdict
        verdict.figures["operations"] = len(ops := recording.ops())
        chosen = choose(recording, ops, cuts, models, Random(seed))
        await _inspect(recording, chosen, until, verdict)
        wanted = max(cuts // CUTS_A_RESTART, FEWEST_RESTARTS) if restarts is None else restarts
        ready = [cut for cut in chosen if cut.moment >= recording.created]
        for cut in Random(seed).sample(ready, min(wanted, len(ready))):
            verdict.must(time.monotonic() < until, f"no time left to restart behind {cut.moment} ({cut.model})")
            if time.monotonic() < until:
                await restart(recording, cut, Path(folder) / "again", verdict, broken=broken)
    return verdict


def choose(
    recording: Recording, ops: Sequence[tape.Op], count: int, models: Sequence[str], random: Random
) -> list[Cut]:
    """Cuts at any operation; more of them right behind answers, during flushes and while the files are created."""
    answers = sorted(recording.acknowledged.values())
    flushes = [(op.offset, op.sequence) for op in ops if op.kind == tape.FSYNCED]
    anywhere = (0, ops[-1].sequence)
    kinds = {"answer": 6, "flush": 5, "creation": 2, "anywhere": 7}
    cuts = []
    for number, kind in enumerate(random.choices(list(kinds), list(kinds.values()), k=count)):
        answer = random.choice(answers)
        spans = {"answer": (answer, answer), "flush": random.choice(flushes), "creation": (0, recording.created)}
        moment = random.randint(*spans.get(kind, anywhere))
        cuts.append(Cut(moment, models[number % len(models)], f"{random.getrandbits(64):x}"))
    return cuts


async def _inspect(recording: Recording, cuts: Sequence[Cut], until: float, verdict: Verdict) -> None:
    """Share the cuts out among processes, and note what they found."""
    workers = min(os.cpu_count() or 1, 8)
    loop, began = asyncio.get_running_loop(), time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="drill-powercut-", dir=SCRATCH) as scratch,
        ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool,
    ):
        parts = [(recording, cuts[start::workers], Path(scratch) / str(start), until) for start in range(workers)]
        results = await asyncio.gather(*(loop.run_in_executor(pool, inspect, *part) for part in parts))
    made = sum(count for count, _ in results)
    verdict.must(made == len(cuts), f"only {made} of {len(cuts)} cuts were made in time")
    _note(cuts, [finding for _, found in results for finding in found], verdict)
    verdict.figures["cuts"] = made
    verdict.figures["milliseconds a cut"] = (time.monotonic() - began) / max(made, 1) * 1000


def _note(cuts: Sequence[Cut], found: Sequence[Finding], verdict: Verdict) -> None:
    """How many cuts broke which law, of all and of each model."""
    broken = Counter((cut.model, law) for cut, law in {(one.cut, one.law) for one in found})
    for law in LAWS:
        verdict.figures[law] = sum(count for (_, broke), count in broken.items() if broke == law)
    for model, count in Counter(cut.model for cut in cuts).items():
        laws = ", ".join(f"{broken[model, law]} {law}" for law in LAWS)
        verdict.figures[model] = f"{count} cuts: {laws}"
    verdict.faults += [f"cut behind {one.cut.moment} ({one.cut.model}): {one.words}" for one in sorted(found)]
