"""`init --system`: what a server needs is made with the right owners and modes, once, and nothing is overwritten."""

import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from receiver import cli, config
from receiver.cli import system

URL = "https://sms.acme.nl"
THEIRS = system.Owner(4711, 4712)

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def owners(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, int]]:
    """Who was made the owner of what: only root may do it really."""
    found: dict[str, tuple[int, int]] = {}

    def chown(what: int | Path, uid: int, gid: int) -> None:
        path = os.readlink(f"/proc/self/fd/{what}") if isinstance(what, int) else str(what)
        found[Path(path).name.removeprefix(".").removesuffix(".new")] = (uid, gid)

    monkeypatch.setattr("receiver.cli.system.os.chown", chown)
    monkeypatch.setattr("receiver.cli.system.os.geteuid", lambda: 0)
    monkeypatch.setattr(system, "account", lambda root: THEIRS)
    return found


@pytest.fixture
def run(tmp_path: Path, owners: dict[str, tuple[int, int]], capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run `receiver init --system` for a system below a folder."""
    umask = os.umask(0o077)  # that of a careful root must not keep the unit out

    def _run(*arguments: str) -> tuple[int, str, str]:
        status = cli.run(["init", "--system", "--root", str(tmp_path), *arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    yield _run
    os.umask(umask)


def modes(root: Path) -> dict[str, int]:
    return {str(path.relative_to(root)): stat.S_IMODE(path.stat().st_mode) for path in root.rglob("*")}


def test_what_a_server_needs_is_made_with_the_right_owners_and_modes(
    run: Run, tmp_path: Path, owners: dict[str, tuple[int, int]]
) -> None:
    status, out, _ = run("--source", "spryng", "--public-url", URL)
    assert status == 0
    found = modes(tmp_path)
    assert {path: found[path] for path in found if "receiver" in path} == {
        "etc/receiver": 0o750,
        "etc/receiver/secrets": 0o750,
        "etc/receiver/secrets/spryng": 0o640,
        "etc/receiver/config.toml": 0o640,
        "etc/receiver/nginx-location.conf": 0o644,
        "var/lib/receiver": 0o750,
    }
    ours = (0, THEIRS.gid)
    assert owners == {
        "receiver": tuple(THEIRS),  # the last of two: /var/lib/receiver
        **dict.fromkeys(("secrets", "spryng", "config.toml", "nginx-location.conf"), ours),
    }
    assert "(32 random bytes, root:receiver 0640)" in out


def test_the_configuration_loads_and_its_urls_are_printed(run: Run, tmp_path: Path) -> None:
    _, out, err = run("--source", "spryng", "--public-url", f"{URL}/")
    settings = config.load(tmp_path / "etc/receiver/config.toml", secrets=True, env={})
    assert settings.store.path == Path("/var/lib/receiver/receiver.db")
    (secret,) = settings.sources["spryng"].secrets
    assert len(secret) == 43  # 32 bytes
    assert secret not in (tmp_path / "etc/receiver/config.toml").read_text()
    for endpoint in ("dlr", "mo"):
        assert f"{URL}/in/spryng/{endpoint}/{secret}" in out
    assert "into the server block of sms.acme.nl" in out
    assert "location /in/ { include /etc/receiver/nginx-location.conf; }" in out
    acted = [json.loads(line) for line in err.splitlines() if '"acted"' in line]
    assert [(line["command"], line["count"]) for line in acted] == [("init --system", 3)]
    assert secret not in err


def test_nginx_gets_the_lines_that_are_tested_with_the_real_one_for_our_address_and_bodies(
    run: Run, tmp_path: Path
) -> None:
    ours, shipped = tmp_path / "etc/receiver/nginx-location.conf", system.shipped() / "nginx-location.conf"
    run()
    assert ours.read_text() == shipped.read_text()
    ours.unlink()
    file = tmp_path / "etc/receiver/config.toml"
    body = 'max_body = "100 KiB"\nlisten = "unix:/run/receiver/http.sock"\n'
    file.write_text(file.read_text().replace('listen = "127.0.0.1:8080"', body))
    run()
    text = ours.read_text()
    assert "proxy_pass http://unix:/run/receiver/http.sock;" in text
    assert "client_max_body_size    100k;" in text
    assert "8080" not in text


def test_a_second_run_says_what_is_there_and_changes_nothing(run: Run, tmp_path: Path) -> None:
    _, first, _ = run("--public-url", URL)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    status, second, err = run("--public-url", "https://elsewhere.example")
    assert status == 0
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert "wrote" not in second
    assert f"kept  {tmp_path}/etc/receiver/config.toml" in second
    assert second[second.index("Paste") :] == first[first.index("Paste") :]
    assert "acted" not in err


def test_a_source_that_is_new_gets_its_secret_and_the_lines_to_add(run: Run, tmp_path: Path) -> None:
    run("--source", "spryng", "--public-url", URL)
    file = tmp_path / "etc/receiver/config.toml"
    before = file.read_text()
    _, out, _ = run("--source", "spryng", "--source", "bulkvs")
    assert file.read_text() == before
    table = out[out.index("[sources.bulkvs]") : out.index("Paste these")]
    file.write_text(before + table)
    settings = config.load(file, secrets=True, env={})
    assert len(settings.sources["bulkvs"].secrets[0]) == 43


def test_a_run_that_was_cut_short_is_finished_with_the_secret_it_made(run: Run, tmp_path: Path) -> None:
    run("--source", "spryng")
    secret = (tmp_path / "etc/receiver/secrets/spryng").read_text()
    (tmp_path / "etc/receiver/config.toml").unlink()
    status, out, _ = run("--source", "spryng")
    assert status == 0
    assert secret.strip() in out
    assert "These hold on this machine only" in out


def test_a_public_url_that_is_none_leaves_no_file_behind(run: Run, tmp_path: Path) -> None:
    status, _, err = run("--public-url", "sms.acme.nl")
    assert status == 78
    assert "server.public_url: expected a URL" in err
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_configuration_that_is_broken_is_told_and_kept(run: Run, tmp_path: Path) -> None:
    run("--source", "spryng")
    file = tmp_path / "etc/receiver/config.toml"
    file.write_text("[servre]\n")
    status, _, err = run()
    assert (status, file.read_text()) == (78, "[servre]\n")
    assert "did you mean server?" in err


def test_without_the_rights_nothing_is_made_and_the_cure_is_told(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.cli.system.os.geteuid", lambda: 1000)
    status, _, err = run()
    assert status == 1
    assert err == "receiver: --system makes a user and writes below /etc: run it as root, with sudo\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["--system", "--config", "x.toml"], ["--root", "/"]])
def test_options_that_do_not_go_together_are_a_usage_error(arguments: list[str]) -> None:
    assert cli.run(["init", *arguments]) == 2


def test_the_units_are_where_they_are_copied_from_and_all_are_enabled(run: Run) -> None:
    _, out, _ = run()
    folder = Path(out.split("cp ")[1].split("/*.socket")[0])
    (enabled,) = [line.split(" enable ")[1].split() for line in out.splitlines() if " enable " in line]
    assert "receiver.service" in enabled
    assert set(enabled) == {path.name for path in folder.iterdir() if path.suffix in (".service", ".socket")}


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("useradd"), reason="only root makes users")
def test_the_user_is_made_once_without_a_shell_and_with_a_group_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for name in ("passwd", "group", "shadow", "gshadow"):
        (tmp_path / "etc" / name).touch()
    owner = system.account(tmp_path)
    assert system.account(tmp_path) == owner
    (line,) = (tmp_path / "etc/passwd").read_text().splitlines()
    assert line == f"receiver:x:{owner.uid}:{owner.gid}:SMS receiver:/var/lib/receiver:/usr/sbin/nologin"
    assert 0 < owner.uid < 1000
