"""What was measured: figures, goals and the table of both."""

import json
import operator
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.load import Measured

RESULTS = Path(__file__).with_name("results")
AT_LEAST, AT_MOST, BELOW = "≥", "≤", "<"
HOLDS = {AT_LEAST: operator.ge, AT_MOST: operator.le, BELOW: operator.lt}


@dataclass
class Figure:
    """One figure: a median, and what it varied between where it was measured several times."""

    name: str
    value: float
    unit: str = ""
    least: float | None = None
    most: float | None = None
    goal: tuple[str, float] | None = None
    """A relation of HOLDS and a bound."""

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        return None if self.goal is None else bool(HOLDS[self.goal[0]](self.value, self.goal[1]))


@dataclass
class Section:
    """The figures of one scenario, and what was measured of each server for them."""

    scenario: str
    title: str
    figures: list[Figure] = field(default_factory=list)
    measured: dict[str, list[Measured]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    failed: bool = False

    def add(
        self, name: str, values: float | Sequence[float], unit: str = "", goal: tuple[str, float] | None = None
    ) -> None:
        """Add the median of these values."""
        several = [values] if isinstance(values, int | float) else list(values)
        figure = Figure(name, statistics.median(several), unit, goal=goal)
        if len(several) > 1:
            figure.least, figure.most = min(several), max(several)
        self.figures.append(figure)


def of(found: Sequence[Measured], name: str) -> list[float]:
    """One field of each."""
    return [float(getattr(one, name)) for one in found]


def ratios(ours: Sequence[float], others: Sequence[float]) -> list[float]:
    """One divided by the other, pair by pair."""
    return [one / other for one, other in zip(ours, others, strict=True) if other]


def words(sections: Sequence[Section], *, verdicts: bool = True) -> str:
    """Markdown that is also a table for people."""
    parts = [_section(section, verdicts=verdicts) for section in sections]
    if verdicts and (goals := _goals(sections)):
        parts.insert(0, goals)
    return "\n\n".join(parts) + "\n"


def as_json(sections: Sequence[Section], facts: dict[str, str]) -> str:
    """One object: the machine, and each figure."""
    rows = [
        {"scenario": section.scenario, **asdict(figure), "met": figure.met}
        for section in sections
        for figure in section.figures
    ]
    measured = {
        section.scenario: {name: [asdict(one) for one in found] for name, found in section.measured.items()}
        for section in sections
    }
    notes = {section.scenario: section.notes for section in sections if section.notes}
    return json.dumps(
        {"machine": facts, "figures": rows, "measured": measured, "notes": notes}, indent=2, ensure_ascii=False
    )


def _goals(sections: Sequence[Section]) -> str:
    """What was to be reached, and whether it was."""
    rows = [
        (section.scenario, *_row(figure, verdicts=True))
        for section in sections
        for figure in section.figures
        if figure.goal
    ]
    return f"## Goals\n\n{_table(('scenario', *_FIGURES), rows)}" if rows else ""


def _section(section: Section, *, verdicts: bool) -> str:
    figures = [_row(figure, verdicts=verdicts) for figure in section.figures]
    measured = [_measured(name, found) for name, found in section.measured.items()]
    parts = [f"## {section.scenario}: {section.title}"]
    parts += [_table(_FIGURES, figures)] if figures else []
    parts += [_table(("medians of", "answers", *_HEADS), measured)] if measured else []
    parts += ["\n".join(f"* {note}" for note in section.notes)] if section.notes else []
    return "\n\n".join(parts)


_FIGURES = ("figure", "median", "min … max", "goal", "met")
_COLUMNS = {"cpu": "CPU µs each", "p50": "p50 ms", "p99": "p99 ms", "p999": "p99.9 ms", "busy": "load's core"}
_HEADS = ("a second", *_COLUMNS.values())


def _measured(name: str, found: Sequence[Measured]) -> tuple[str, ...]:
    columns = [_short(statistics.median(of(found, column))) for column in ("per_second", *_COLUMNS)]
    return name, _short(sum(one.answers for one in found)), *columns


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in (heads, *rows)
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _row(figure: Figure, *, verdicts: bool) -> tuple[str, str, str, str, str]:
    spread = "" if figure.least is None or figure.most is None else f"{_short(figure.least)} … {_short(figure.most)}"
    goal = f"{figure.goal[0]} {_short(figure.goal[1])}" if figure.goal else ""
    met = {None: "", True: "yes", False: "NO"}[figure.met if verdicts else None]
    return figure.name, f"{_short(figure.value)} {figure.unit}".strip(), spread, goal, met


def _short(value: float) -> str:
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def write(sections: Sequence[Section], facts: dict[str, str], date: str) -> Path:
    """Keep the tables under this date; where they are."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{date}.md"
    machine = "\n".join(f"* {name}: {fact}" for name, fact in facts.items())
    file.write_text(f"# Measured on {date}\n\n{machine}\n\n{words(sections)}")
    return file
