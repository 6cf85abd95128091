"""What all tests share: asyncio as the one backend, and kits whose failed asserts say what they compared."""

from pathlib import Path

import pytest

pytest.register_assert_rewrite(*(kit.stem for kit in Path(__file__).parent.glob("*_kit.py")))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """That there was no PostgreSQL must not drown among dots."""
    from postgres_kit import NONE

    skipped = terminalreporter.stats.get("skipped", [])
    without = [report for report in skipped if NONE in str(report.longrepr)]
    if without:
        terminalreporter.write_line(f"{len(without)} tests were skipped: {NONE}", red=True, bold=True)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
