"""Intake: durable answers beside the bare server, by kind of callback and number of connections."""

from collections import defaultdict
from collections.abc import Sequence

from benchmarks import load
from benchmarks.load import Measured, Slice
from benchmarks.plan import Plan
from benchmarks.report import AT_LEAST, AT_MOST, Section, of, ratios
from benchmarks.servers import Base, Ours, Server, running
from drills.meddle import Meddler
from drills.verdict import CannotRun

GOALS = {
    ("dlr", 16): (AT_LEAST, 0.45),
    ("dlr", 64): (AT_LEAST, 0.60),
    ("dlr", 256): (AT_LEAST, 0.70),
    ("mo", 64): (AT_LEAST, 0.50),
    ("bulkvs", 64): (AT_LEAST, 0.50),
}
"""Answers a second as a part of the base's."""
P99 = (AT_MOST, 3.0)
FLUSHES = (AT_MOST, 1 / 40)
USUAL = 64
"""Connections at which everything is measured; other numbers only for reports."""


def intake(plan: Plan) -> Section:
    """Base and ours in turn, round by round; then, in a pass of its own, how often the disk is flushed."""
    section = Section("intake", "durable answers beside a bare Starlette route that stores nothing")
    base, ours = Base(plan.folder / "base"), Ours(plan.folder / "ours")
    with running(base, ours):
        for kind, connections in _combinations(plan):
            plan.say(f"intake: {kind}, {connections} connections")
            found = in_turn(plan, [base, ours], Slice(0, kind, connections, plan.seconds))
            _add(section, f"{kind}, {connections}", found, (kind, connections))
    _count_flushes(plan, section)
    return section


def in_turn(
    plan: Plan, servers: Sequence[Server], slice: Slice, *, also: Server | None = None
) -> dict[str, list[Measured]]:
    """The same slice for each server, one after the other, as many rounds as planned.

    Between two slices the server, and `also`, come to rest.
    """
    found: dict[str, list[Measured]] = defaultdict(list)
    for turn in range(plan.rounds):
        for server in servers if turn % 2 else reversed(servers):
            found[server.name].append(sent(server, slice))
            server.rest()
            if also:
                also.rest()
    return found


def sent(server: Server, slice: Slice) -> Measured:
    """One slice for one server; every answer is a 200."""
    measured = load.run(Slice(**{**vars(slice), "port": server.port, "pid": server.pid}))
    if measured.refused or not measured.answers:
        raise RuntimeError(f"{server.name}: {measured.refused} answers were no 200, {measured.answers} were")
    return measured


def _combinations(plan: Plan) -> list[tuple[str, int]]:
    usual = USUAL if USUAL in plan.connections else max(plan.connections)
    return [(kind, count) for kind in plan.kinds for count in plan.connections if kind == "dlr" or count == usual]


def _add(section: Section, what: str, found: dict[str, list[Measured]], which: tuple[str, int]) -> None:
    base, ours = found["base"], found["ours"]
    goal = P99 if which == ("dlr", USUAL) else None
    section.add(
        f"{what}: answers, ours / base", ratios(of(ours, "per_second"), of(base, "per_second")), "", GOALS.get(which)
    )
    section.add(f"{what}: CPU, base / ours", ratios(of(base, "cpu"), of(ours, "cpu")))
    section.add(f"{what}: p99, ours / base", ratios(of(ours, "p99"), of(base, "p99")), "", goal)
    section.measured |= {f"{what}: {name}": one for name, one in found.items()}


def _count_flushes(plan: Plan, section: Section) -> None:
    folder = plan.folder / "flushes"
    folder.mkdir()
    try:
        meddler = Meddler(folder)
    except CannotRun as reason:
        section.notes.append(f"flushes were not counted: {reason}")
        return
    ours = Ours(folder, env=meddler.env)
    with running(ours):
        for connections in plan.connections:
            before = meddler.fsyncs
            measured = load.run(Slice(ours.port, "dlr", connections, plan.seconds))
            flushes = (meddler.fsyncs - before) / measured.total
            section.add(
                f"dlr, {connections}: flushes per event", flushes, "", FLUSHES if connections == USUAL else None
            )
    meddler.close()
