"""Finding: what one check says: fine, a problem with its cure, or not looked at and why."""

from collections.abc import Mapping
from typing import Any, NamedTuple

OK, PROBLEM, SKIPPED = "ok", "problem", "skipped"
MARKS = {OK: "✓", PROBLEM: "✗", SKIPPED: "–"}


class Finding(NamedTuple):
    """One line of the doctor's."""

    check: str
    state: str
    words: str
    about: str = ""
    """The source or handler it is about."""
    cure: str = ""
    """What to do, a line or several."""
    facts: Mapping[str, Any] = {}
    """Figures for machines."""


def ok(check: str, words: str, about: str = "", **facts: Any) -> Finding:
    """All is well."""
    return Finding(check, OK, words, about, facts=facts)


def problem(check: str, words: str, cure: str, about: str = "", **facts: Any) -> Finding:
    """Something is wrong, and this helps."""
    return Finding(check, PROBLEM, words, about, cure, facts)


def skipped(check: str, words: str, about: str = "", **facts: Any) -> Finding:
    """Not looked at, or nothing to judge: why."""
    return Finding(check, SKIPPED, words, about, facts=facts)
