"""The command `simulate`: its arguments, its words and its exit."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner
from simulate_kit import listening

from receiver.cli.simulate import simulate

pytestmark = pytest.mark.anyio


def call(*arguments: str, config: Path | None = None) -> Any:
    given = [*arguments, "--config", str(config)] if config else list(arguments)
    return CliRunner().invoke(simulate, given, standalone_mode=False)


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    file = tmp_path / "receiver.toml"
    file.write_text('[sources.dutch]\nprovider = "spryng"\nsecrets = ["0123456789abcdef"]\n')
    file.chmod(0o600)
    return file


async def test_the_command_sends_to_the_source_of_the_configuration(configuration: Path) -> None:
    async with listening("spryng") as receiver:
        result = await asyncio.to_thread(
            call, "spryng", "--count", "10", "--url", receiver.base, "--json", config=configuration
        )
    assert result.return_value == 0, result.output
    told = json.loads(result.stdout)
    assert (told["provider"], told["stored"], told["wrong"]) == ("spryng", 10, 0)
    assert {request.path.rpartition("/")[2] for request in receiver.seen} == {"0123456789abcdef"}
    assert "0123456789abcdef" not in result.output


async def test_the_summary_begins_with_the_verdict() -> None:
    async with listening("spryng") as receiver:
        right = await asyncio.to_thread(call, "spryng", "--count", "20", "--url", f"{receiver.base}/in/spryng/dlr")
        receiver.instead = lambda _number, _request: web.Response(status=404)
        wrong = await asyncio.to_thread(call, "spryng", "--count", "2", "--url", f"{receiver.base}/in/spryng/dlr")
    assert (right.return_value, wrong.return_value) == (0, 1)
    assert right.stdout.startswith("All as promised: 21 callbacks of spryng")
    assert wrong.stdout.startswith("NOT as promised")
    assert "2 × answered 404" in wrong.stdout


async def test_the_command_says_where_nobody_answers(configuration: Path, free_port: int) -> None:
    with configuration.open("a") as file:
        file.write(f'[server]\nlisten = "127.0.0.1:{free_port}"\n')
    result = await asyncio.to_thread(call, "dutch", config=configuration)
    assert result.return_value == 69
    assert f"nobody answers at http://127.0.0.1:{free_port} (connection refused)" in result.stderr
    assert "receiver serve" in result.stderr
    assert "0123456789abcdef" not in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sprynk",), "did you mean spryng?"),
        (("spryng", "--mix", "dlr=80,xx=1"), "expected shares"),
        (("spryng", "--mix", "dlr=0"), "expected shares"),
        (("spryng", "--rate", "fast"), "expected callbacks a second"),
        (("spryng", "--give-up", "soon"), "is no duration"),
        (("spryng", "--url", "127.0.0.1:8080"), "expected a URL"),
        (("spryng", "--speedup", "0"), "0"),
    ],
)
def test_a_wrong_argument_is_explained(arguments: tuple[str, ...], words: str, configuration: Path) -> None:
    result = call(*arguments, config=configuration)
    assert isinstance(result.exception, Exception)
    assert words in getattr(result.exception, "message", "")
