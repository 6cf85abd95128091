"""The command line's frame, and the commands about configuration, as people run them."""

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from receiver import cli, errors
from receiver.cli import options

SECRET = "abcdefghijklmnop"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run `receiver` in an empty folder."""

    def _run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")}
        command = [sys.executable, "-m", "receiver", *arguments]
        return subprocess.run(command, cwd=tmp_path, env={**clean, **env}, capture_output=True, text=True, timeout=60)

    return _run


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The same inside this process, where it is a matter of milliseconds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("receiver.config.reading.SYSTEM_FILE", tmp_path / "etc.toml")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)

    def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
        status = cli.run(arguments)
        said = capsys.readouterr()
        return subprocess.CompletedProcess(list(arguments), status, said.out, said.err)

    return _run


# the frame


def test_help_names_every_command_and_imports_none(run: Run) -> None:
    probe = (
        "import sys; from receiver import cli; cli.run(['--help']); "
        "print([name for name in sys.modules if name.startswith('receiver.cli.')])"
    )
    shown = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    assert shown.startswith("Examples:\n")
    for name, entry in cli.COMMANDS.items():
        assert f"  {name} " in shown
        assert entry.summary[:30] in shown
    assert shown.endswith("['receiver.cli.options']\n")


def test_the_start_takes_no_time(run: Run) -> None:
    took = []
    for _ in range(3):
        began = time.perf_counter()
        run("--help")
        took.append(time.perf_counter() - began)
    assert min(took) < 1.0  # 0.15 s on an idle machine; this catches a heavy import, not a busy machine


@pytest.mark.parametrize("name", ["init", "urls", "check", "providers"])
def test_a_commands_help_starts_with_examples(inside: Run, name: str) -> None:
    assert inside(name, "--help").stdout.startswith(f"Examples:\n  receiver {name}")


def test_the_version_is_told(inside: Run) -> None:
    assert inside("--version").stdout.startswith("receiver 0.")


def test_an_unknown_command_is_a_usage_error_with_what_was_meant(inside: Run) -> None:
    ended = inside("chekc")
    assert ended.returncode == 2
    assert 'no command "chekc"; did you mean check?' in ended.stderr


def test_an_option_before_the_command_is_told_where_it_belongs(inside: Run) -> None:
    ended = inside("--config", "x.toml", "check")
    assert ended.returncode == 2
    assert "options follow the command: receiver COMMAND --config" in ended.stderr


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (errors.ConfigFault("f: a: b"), 78),
        (errors.PluginFault("no handler"), 78),
        (errors.StoreMissing("no database"), 78),
        (errors.StoreUnusable("corrupt"), 78),
        (errors.StoreTaken("taken by 7"), 69),
        (errors.StoreUnavailable("disk full"), 69),
        (errors.Unreadable("odd"), 1),
        (FileNotFoundError(2, "No such file or directory", "x"), 1),
        (KeyboardInterrupt(), 130),
        (click.UsageError("so not"), 2),
    ],
)
def test_every_fault_has_its_exit_status_and_no_traceback(
    inside: Run, monkeypatch: pytest.MonkeyPatch, fault: BaseException, status: int
) -> None:
    @options.command()
    def failing() -> None:
        raise fault

    monkeypatch.setattr(cli.Commands, "get_command", lambda *_: failing)
    ended = inside("check")
    assert ended.returncode == status
    assert "Traceback" not in ended.stderr
    assert str(fault) in ended.stderr or isinstance(fault, OSError)
    assert len(ended.stderr.splitlines()) <= 4


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (1, 1)])
def test_what_a_command_returns_is_the_exit_status(
    inside: Run, monkeypatch: pytest.MonkeyPatch, returned: int | None, status: int
) -> None:
    @options.command()
    def ending() -> int | None:
        return returned

    monkeypatch.setattr(cli.Commands, "get_command", lambda *_: ending)
    assert inside("check").returncode == status


@pytest.mark.parametrize("buffering", ["", "-u"])
def test_a_reader_that_goes_away_is_no_fault(tmp_path: Path, buffering: str) -> None:
    command = f"env -u PYTHONUNBUFFERED {sys.executable} {buffering} -m receiver providers --json"
    piped = f"{command} | true; echo ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", piped], cwd=tmp_path, capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("0\n", "")


# init


def test_init_writes_a_file_that_loads_and_that_only_its_owner_reads(inside: Run, tmp_path: Path) -> None:
    ended = inside("init", "--public-url", "https://sms.example.com")
    file = tmp_path / "receiver.toml"
    assert ended.returncode == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert f"wrote {file}" in ended.stdout
    checked = inside("check")
    assert (checked.returncode, checked.stdout) == (0, "ok: 2 sources, 1 handler\n")
    assert "warning" not in checked.stderr


def test_init_prints_the_urls_and_where_they_go(inside: Run) -> None:
    shown = inside("init", "--source", "spryng", "--public-url", "https://sms.example.com/").stdout
    urls = [json.loads(line) for line in inside("urls", "--json").stdout.splitlines()]
    assert [(url["method"], url["endpoint"]) for url in urls] == [("GET", "dlr"), ("POST", "mo")]
    for url in urls:
        assert url["url"] in shown
        assert url["portal"] in shown
        assert url["url"].startswith(f"https://sms.example.com/in/spryng/{url['endpoint']}/")
        assert len(url["url"].rpartition("/")[2]) == 43  # 32 bytes
    assert "receiver check" in shown


def test_init_makes_every_secret_anew(inside: Run) -> None:
    inside("init")
    inside("init", "--config", "second.toml")
    shown = inside("urls", "--json").stdout + inside("urls", "--json", "--config", "second.toml").stdout
    secrets = {json.loads(line)["url"].rpartition("/")[2] for line in shown.splitlines()}
    assert len(secrets) == 4  # two files of two sources


def test_init_leaves_a_file_that_is_there_as_it_is(inside: Run, tmp_path: Path) -> None:
    (tmp_path / "receiver.toml").write_text("# mine\n")
    ended = inside("init")
    assert ended.returncode == 78
    assert "is there already" in ended.stderr
    assert (tmp_path / "receiver.toml").read_text() == "# mine\n"


def test_init_of_a_provider_that_is_not_there_is_a_usage_error(inside: Run, tmp_path: Path) -> None:
    ended = inside("init", "--source", "spring")
    assert ended.returncode == 2
    assert "did you mean spryng?" in ended.stderr
    assert not (tmp_path / "receiver.toml").exists()


def test_a_public_url_that_is_none_leaves_no_file_behind(inside: Run, tmp_path: Path) -> None:
    ended = inside("init", "--public-url", "sms.example.com")
    assert ended.returncode == 78
    assert "server.public_url: expected a URL" in ended.stderr
    assert not (tmp_path / "receiver.toml").exists()


# urls


def test_urls_prints_every_live_secret_during_a_rotation(inside: Run, tmp_path: Path) -> None:
    second = SECRET[::-1]
    (tmp_path / "receiver.toml").write_text(
        f'[sources.acme]\nprovider = "bulkvs"\nsecrets = ["{SECRET}", "{second}"]\n[server]\npublic_url = "https://x.nl"\n'
    )
    shown = {json.loads(line)["url"] for line in inside("urls", "--json").stdout.splitlines()}
    assert shown == {f"https://x.nl/in/acme/webhook/{secret}" for secret in (SECRET, second)}


def test_urls_without_configuration_are_those_of_the_trial(inside: Run) -> None:
    ended = inside("urls", "--json")
    urls = {json.loads(line)["url"] for line in ended.stdout.splitlines()}
    assert "http://127.0.0.1:8080/in/spryng/dlr" in urls
    assert "configuration: no file" in ended.stderr
    assert "public_url is not set" in ended.stderr


def test_urls_says_which_secret_cannot_be_read(inside: Run, tmp_path: Path) -> None:
    (tmp_path / "receiver.toml").write_text('[sources.a]\nprovider = "spryng"\nsecrets = [{ file = "gone" }]\n')
    ended = inside("urls")
    assert ended.returncode == 78
    assert f"sources.a.secrets[0]: cannot read {tmp_path / 'gone'}" in ended.stderr


# check


def test_check_tells_all_faults_also_those_only_a_handlers_code_knows(inside: Run, tmp_path: Path) -> None:
    (tmp_path / "receiver.toml").write_text(
        f'[sources.a]\nprovider = "spryng"\nsecrets = ["{SECRET}"]\n[log]\nlevel = "x"\n'
        '[handlers.crm]\nuse = "forward"\nurl = "https://crm.example.com"\nretires = []\n[handlers.b]\nuse = "lgo"\n'
    )
    ended = inside("check")
    file = tmp_path / "receiver.toml"
    assert ended.returncode == 78
    assert ended.stderr.splitlines() == [
        f"configuration: {file}",
        f'{file}: log.level: expected "debug", "info", "warning" or "error"',
        f'{file}: handlers.b.use: no handler "lgo"; known: email, forward, log; did you mean log?',
        f"{file}: handlers.crm.retires: unknown key; did you mean retries?",
        "3 faults. A running receiver keeps its old configuration.",
    ]


def test_check_as_json_is_one_object(inside: Run, tmp_path: Path) -> None:
    file = tmp_path / "receiver.toml"
    file.write_text('[sources.a]\nprovider = "spryng"\nauth = "none"\n')
    told = json.loads(inside("check", "--json").stdout)
    assert told == {
        "file": str(file),
        "sources": 1,
        "handlers": 0,
        "faults": [],
        "warnings": [f'{file}: sources.a: auth = "none": anybody who finds its URL can send events'],
        "ok": True,
    }
    file.write_text("[server")
    ended = inside("check", "--json")
    assert (ended.returncode, json.loads(ended.stdout)["ok"]) == (78, False)


def test_check_without_systemd_says_that_credentials_were_not_read(inside: Run, tmp_path: Path) -> None:
    (tmp_path / "receiver.toml").write_text('[sources.a]\nprovider = "spryng"\nsecrets = [{ credential = "a" }]\n')
    ended = inside("check")
    assert ended.returncode == 0
    assert "secrets were not read" in ended.stderr


def test_check_goes_on_where_systemd_names_credentials_and_hides_them(
    inside: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "receiver.toml").write_text('[sources.a]\nprovider = "spryng"\nsecrets = [{ credential = "a" }]\n')
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "hidden"))
    ended = inside("check")
    assert (ended.returncode, "secrets were not read" in ended.stderr) == (0, True)


def test_check_inside_the_unit_reads_credentials(inside: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "receiver.toml").write_text('[sources.a]\nprovider = "spryng"\nsecrets = [{ credential = "a" }]\n')
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert inside("check").returncode == 78
    (tmp_path / "a").write_text(SECRET)
    assert inside("check").returncode == 0


def test_the_example_is_fine(inside: Run) -> None:
    example = Path(__file__).parents[1] / "config.example.toml"
    ended = inside("check", "--config", str(example))
    assert (ended.returncode, ended.stdout) == (0, "ok: 2 sources, 3 handlers\n")


# providers


def test_providers_lists_endpoints_and_settings(inside: Run) -> None:
    told = {line["provider"]: line for line in map(json.loads, inside("providers", "--json").stdout.splitlines())}
    assert set(told) >= {"spryng", "bulkvs"}
    assert told["spryng"]["settings"] == {"timezone": "Europe/Amsterdam"}
    assert [endpoint["name"] for endpoint in told["spryng"]["endpoints"]] == ["dlr", "mo"]
    shown = inside("providers").stdout
    assert 'setting   text_encoding = "auto"' in shown
    assert "POST  /in/spryng/mo" in shown


def test_an_option_wins_over_environment_and_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECEIVER_SERVER__LISTEN", "127.0.0.1:1")
    assert options.settings(None, server__listen="127.0.0.1:2").server.listen == "127.0.0.1:2"
    assert options.settings(None, server__listen=None).server.listen == "127.0.0.1:1"
