"""What a drill found: figures, faults, and whether it passed."""

import json
from dataclasses import dataclass, field
from typing import Any

MOST_FAULTS_SHOWN = 10


class CannotRun(Exception):
    """The machine lacks something that the drill needs; the message says what, and how to get it."""


@dataclass
class Verdict:
    """The outcome of one drill. It passed where there is no fault."""

    drill: str
    seed: int
    figures: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Figures of each of several things, shown as a table."""

    @property
    def passed(self) -> bool:
        """Whether everything was as promised."""
        return not self.faults

    def must(self, true: object, fault: str) -> None:
        """Note a fault where something that must be true is not."""
        if not true:
            self.faults.append(fault)

    def count(self, name: str, by: float = 1) -> None:
        """Move a figure."""
        self.figures[name] = self.figures.get(name, 0) + by

    def words(self) -> str:
        """For people."""
        width = max(map(len, self.figures), default=0)
        lines = [f"{self.drill} drill, seed {self.seed}"]
        lines += [f"  {name:<{width}}  {_written(figure)}" for name, figure in self.figures.items()]
        lines += _table(self.rows)
        lines += [f"  ✗ {fault}" for fault in self.faults[:MOST_FAULTS_SHOWN]]
        if len(self.faults) > MOST_FAULTS_SHOWN:
            lines.append(f"  … and {len(self.faults) - MOST_FAULTS_SHOWN} more")
        lines.append("PASSED" if self.passed else f"FAILED: {len(self.faults)} faults")
        return "\n".join(lines)

    def to_json(self) -> str:
        """One line for machines."""
        facts = {"drill": self.drill, "seed": self.seed, "passed": self.passed}
        rows = {"rows": self.rows} if self.rows else {}
        return json.dumps({**facts, **self.figures, **rows, "faults": self.faults})


def _table(rows: dict[str, dict[str, Any]]) -> list[str]:
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    cells = [["", *names], *([key, *(str(row.get(name, "")) for name in names)] for key, row in rows.items())]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)] if rows else []
    shown = [[f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)] for line in cells if rows]
    return ["  " + "  ".join([f"{key.strip():<{widths[0]}}", *rest]) for key, *rest in shown]


def _written(figure: Any) -> str:
    if isinstance(figure, float):
        return f"{figure:,.3f}"
    return f"{figure:,}" if isinstance(figure, int) else str(figure)
