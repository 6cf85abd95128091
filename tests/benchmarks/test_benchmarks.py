"""The benchmarks measure: a short run of the command, and what its figures are made of."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import parse_qs

import pytest

from benchmarks import load, wire
from benchmarks.report import AT_LEAST, Section, ratios, words
from receiver.callback import Callback
from receiver.providers.spryng import Spryng, SpryngSettings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that all may enter: PostgreSQL does not run as root."""
    with TemporaryDirectory(prefix="receiver-benchmark-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.drill
def test_every_scenario_can_be_measured(open_folder: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--quick", "--json", "--folder", str(open_folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    scenarios = {figure["scenario"] for figure in found["figures"]}
    assert scenarios >= {"intake", "people", "growth", "dispatching", "forwarding", "slow-disk", "prune"}
    assert scenarios >= {"start", "queries", "memory", "postgres"}
    assert list(open_folder.iterdir()) == []


def test_every_request_is_another_message() -> None:
    for kind in ("dlr", "mo", "bulkvs"):
        make = wire.requests(kind)
        assert len({make() for _ in range(1000)}) == 1000


def test_reports_are_read_as_the_provider_means_them() -> None:
    query = wire.requests("dlr")().split(b" ")[1].partition(b"?")[2]
    callback = Callback(source="spryng", endpoint="dlr", method="GET", query=query, received_at=datetime.now(UTC))
    (event,) = Spryng(SpryngSettings()).parse(callback)
    assert event.message_id == parse_qs(query.decode())["ID"][0]
    assert event.identity.at is not None


def test_a_form_is_as_long_as_it_says() -> None:
    head, _, body = wire.requests("mo")().partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head


def test_percentiles_are_of_what_was_measured() -> None:
    ordered = [float(number) for number in range(1, 1001)]
    assert (load.percentile(ordered, 0.5), load.percentile(ordered, 0.99)) == (501.0, 991.0)


def test_ratios_are_taken_round_by_round() -> None:
    section = Section("intake", "beside the base")
    section.add("ours / base", ratios([3.0, 8.0, 5.0], [6.0, 10.0, 10.0]), "", (AT_LEAST, 0.6))
    (figure,) = section.figures
    assert (figure.value, figure.least, figure.most, figure.met) == (0.5, 0.5, 0.8, False)
    assert "| NO " in words([section])
