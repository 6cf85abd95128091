"""The units: what systemd itself finds in them, how exposed they are, and that their commands are ours."""

import re
import shlex
import shutil
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest

from receiver.cli import EX_CONFIG, options
from receiver.cli import receiver as command_line
from receiver.cli.system import PREFIX, USER

UNITS = Path(__file__).parents[2] / "systemd"
SERVICES = {"receiver.service": 1.2, "receiver-dispatch.service": 1.5}
"""Each with the most exposure it may have, of ten."""
SOCKETS = {"receiver.socket": "callbacks", "receiver-admin.socket": "admin"}

analyze = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(not analyze, reason="NOT TESTED: systemd-analyze is not installed (Debian: systemd)")


class Repeated(dict[str, str]):
    """A section in which a key that is said again is added, as systemd does."""

    def __setitem__(self, key: str, value: str) -> None:
        both = [*self[key], *value] if key in self and isinstance(value, list) else value
        super().__setitem__(key, both)  # type: ignore[assignment]


def unit(name: str) -> RawConfigParser:
    read = RawConfigParser(strict=False, dict_type=Repeated)  # type: ignore[arg-type]
    read.optionxform = str  # type: ignore[assignment,method-assign]
    read.read(UNITS / name)
    return read


def commands(name: str) -> list[list[str]]:
    """All command lines of a unit, by our own command only."""
    lines = [line for key in ("ExecStart", "ExecReload") for line in unit(name)["Service"][key].splitlines()]
    return [shlex.split(line) for line in lines if Path(shlex.split(line)[0]).name == "receiver"]


@needs_systemd
def test_systemd_has_nothing_to_say(tmp_path: Path) -> None:
    """With a command in place of ours, which is not installed here."""
    units = [tmp_path / name for name in (*SERVICES, *SOCKETS)]
    for copy in units:
        copy.write_text((UNITS / copy.name).read_text().replace(f"{PREFIX}/receiver", str(shutil.which("true"))))
    done = subprocess.run([str(analyze), "verify", "--man=no", *units], capture_output=True, text=True)
    assert (done.stderr, done.returncode) == ("", 0)


@needs_systemd
@pytest.mark.parametrize(("name", "most"), SERVICES.items())
def test_a_service_is_exposed_no_more_than_it_may_be(name: str, most: float) -> None:
    done = subprocess.run(
        [str(analyze), "security", "--offline=true", "--no-pager", str(UNITS / name)], capture_output=True, text=True
    )
    found = re.search(r"exposure level for \S+: (\d+\.\d)", done.stdout)
    assert found, done.stderr
    assert float(found[1]) <= most


@pytest.mark.parametrize("name", SERVICES)
def test_a_services_commands_are_ours_and_it_checks_before_it_reloads(name: str) -> None:
    start, check = commands(name)
    for program, command, *words in (start, check):
        assert program == str(PREFIX / "receiver")
        found = command_line.get_command(None, command)  # type: ignore[arg-type]
        assert isinstance(found, options.Command)
        known = {option for parameter in found.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known
    assert check[1] == "check"
    assert start[1:3] == (["serve", "--no-dispatch"] if name == "receiver.service" else ["dispatch", "--config"])


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_watched_and_ends_as_it_is_promised(name: str) -> None:
    service = unit(name)["Service"]
    wanted = {
        "Type": "notify",
        "NotifyAccess": "main",
        "KillMode": "mixed",
        "OOMPolicy": "continue",
        "Restart": "always",
        "RestartPreventExitStatus": str(EX_CONFIG),
        "User": USER,
        "Group": USER,
    }
    assert {key: service[key] for key in wanted} == wanted
    assert service["WatchdogSec"]


def test_compiled_code_is_forbidden_to_callbacks_and_not_to_handlers() -> None:
    assert "MemoryDenyWriteExecute" in unit("receiver.service")["Service"]
    assert "MemoryDenyWriteExecute" not in unit("receiver-dispatch.service")["Service"]


def test_each_socket_has_its_name_and_none_is_missing() -> None:
    assert {name: unit(name)["Socket"]["FileDescriptorName"] for name in SOCKETS} == SOCKETS
    assert {unit(name)["Socket"]["Service"] for name in SOCKETS} == {"receiver.service"}
    assert set(unit("receiver.service")["Service"]["Sockets"].split()) == set(SOCKETS)
