"""Beside what people write today: the same reports, answered by each in turn, and what is left after a kill -9."""

import importlib.util
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from benchmarks import load
from benchmarks.intake import in_turn
from benchmarks.load import Slice
from benchmarks.plan import Plan
from benchmarks.report import AT_LEAST, AT_MOST, Section, of, ratios
from benchmarks.servers import Background, Base, Naive, Ours, Server, running

NEEDED = ("fastapi", "sqlalchemy")
CONNECTIONS = 64
NAMES = {
    "base": "Starlette, stores nothing",
    "ours": "sms-receiver",
    "naive": "FastAPI, SQLAlchemy, SQLite",
    "background": "FastAPI, BackgroundTasks",
}
CUT = 0.7
"""The part of a slice after which the server is killed."""


def beside(plan: Plan) -> Section:
    """Base, ours and, with the extra `bench`, what people write."""
    section = Section("people", "beside what people write today, for the same reports")
    servers: list[Server] = [Base(plan.folder / "people-base"), Ours(plan.folder / "people-ours")]
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        plan.say(f"people: SKIPPED what people write: {', '.join(missing)} not installed (pip install -e '.[bench]')")
        section.notes.append(f"left out, because {' and '.join(missing)} are not installed: what people write")
    else:
        servers += [Naive(plan.folder / "people-naive"), Background(plan.folder / "people-background")]
    with running(*servers):
        plan.say("people: 64 connections")
        found = in_turn(plan, servers, Slice(0, "dlr", CONNECTIONS, plan.seconds))
        ours = of(found["ours"], "per_second")
        for server in servers[2:]:
            goal = (AT_LEAST, 20.0) if server.name == "naive" else None
            section.add(f"ours / {NAMES[server.name]}", ratios(ours, of(found[server.name], "per_second")), "", goal)
        section.measured = {NAMES[name]: one for name, one in found.items()}
        plan.say("people: kill -9 under load")
        for server in servers[1:]:
            _kill(server, section, plan)
    return section


def _kill(server: Server, section: Section, plan: Plan) -> None:
    database = server.folder / ("receiver.db" if server.name == "ours" else "events.db")
    server.end()  # what it still had to do is no part of this
    before = _stored(database)
    server.start()
    sending = load.begin(Slice(server.port, "dlr", CONNECTIONS, plan.seconds, mortal=True))
    time.sleep(0.5 + plan.seconds * CUT)
    server.end()
    acknowledged, stored = load.end(sending).total, _stored(database) - before
    lost = max(acknowledged - stored, 0)
    goal = (AT_MOST, 0.0) if server.name == "ours" else None
    section.add(
        f"{NAMES[server.name]}: lost by kill -9 of {acknowledged:,} acknowledged",
        lost / max(acknowledged, 1) * 100,
        "%",
        goal,
    )


def _stored(database: Path) -> int:
    with closing(sqlite3.connect(database, timeout=30)) as db:
        return int(db.execute("SELECT count(*) FROM events").fetchone()[0])


def plot(section: Section, file: Path) -> Path:
    """Durable answers a second, as a picture that is drawn by matplotlib."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    mpl.rcParams |= {"svg.fonttype": "none", "font.family": "sans-serif", "svg.hashsalt": "sms-receiver"}
    bars = _bars(section)
    figure, axes = pyplot.subplots(figsize=(8, 0.6 * len(bars) + 0.8))
    drawn = axes.barh([name for name, _ in bars], [height for _, height in bars], color=_colours(bars))
    axes.bar_label(drawn, [f"{height:,.0f}" for _, height in bars], padding=4)
    axes.set_title("answers per second, 64 connections, one core", loc="left", fontsize=11)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.get_xaxis().set_visible(False)
    axes.margins(x=0.12)
    axes.invert_yaxis()
    figure.savefig(file, bbox_inches="tight", metadata={"Date": None})
    return file


def _bars(section: Section) -> list[tuple[str, float]]:
    rates = {name: sorted(of(found, "per_second"))[len(found) // 2] for name, found in section.measured.items()}
    lost = {figure.name.partition(": lost")[0]: figure.value for figure in section.figures if ": lost" in figure.name}
    names = {name: f"{name}\n(loses {lost[name]:.0f} % when killed)" if lost.get(name) else name for name in rates}
    return sorted(((names[name], rate) for name, rate in rates.items()), key=lambda bar: -bar[1])


def _colours(bars: Sequence[tuple[str, float]]) -> list[str]:
    return ["#1a7f5a" if name == NAMES["ours"] else "#b8bec6" for name, _ in bars]
