"""The files of docs/how-to/receive-forwards.md, run: they take what forward signs, once, and nothing else."""

import asyncio
import base64
import http.client
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from forward_kit import OTHER, SECRET
from receiver.handlers.forward import Forward
from standardwebhooks import Webhook

from drills.kill import free_port
from receiver import testing

PAGE = (Path(__file__).parents[1] / "docs/how-to/receive-forwards.md").read_text()
PATIENCE = 60  # seconds; the first build of a Go program takes some
INBOX, PORT = "/var/lib/shop/sms", "8090"
BODY = '{"id": "0198c0de", "data": {"text": "Grüße 👋"}}'


NO_KEY = base64.b64encode(b"\0").decode()
"""HMAC fills a key up with zeros: what this one signs is signed with no key at all."""


class Ended(Exception):
    """A file that was started ended by itself, with these words."""


class Language(NamedTuple):
    """How a file of the page is started."""

    program: str
    package: str
    file: str
    command: Callable[[Path, str], list[str]]


LANGUAGES = {
    "php": Language("php", "php-cli", "sms-hook.php", lambda file, port: ["php", "-S", f"127.0.0.1:{port}", str(file)]),
    "js": Language("node", "nodejs", "sms-hook.mjs", lambda file, port: ["node", str(file)]),
    "go": Language("go", "golang-go", "sms-hook.go", lambda file, port: [str(file.with_suffix(""))]),
    "python": Language("python3", "python3", "sms-hook.py", lambda file, port: [sys.executable, str(file)]),
}


class Hook(NamedTuple):
    """A file of the page that listens, and the folder it keeps events in."""

    port: int
    inbox: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def post(self, body: str, headers: Mapping[str, str]) -> int:
        """The status that it answers."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)) as connection:
            connection.request("POST", "/", body.encode(), dict(headers))
            return connection.getresponse().status

    def kept(self) -> dict[str, str]:
        """What is in the folder."""
        return {path.name: path.read_text() for path in self.inbox.iterdir()}


def signed(name: str, *secrets: str, at: datetime | None = None) -> dict[str, str]:
    """The headers that forward sends with BODY."""
    at = at or datetime.now(UTC)
    signatures = " ".join(Webhook(secret).sign(name, at, BODY) for secret in secrets)
    return {"webhook-id": name, "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signatures}


def placed(name: str, folder: Path, port: int) -> list[str]:
    """Write the file of a language, with a folder and a port of its own; gives how to start it."""
    language = LANGUAGES[name]
    if shutil.which(language.program) is None:
        pytest.skip(f"NOT TESTED: {language.program} is not installed (Debian: apt install {language.package})")
    (code,) = (code for code in re.findall(rf"^```{name}\n(.*?)^```$", PAGE, re.M | re.S) if language.file in code)
    assert INBOX in code
    (folder / "inbox").mkdir()
    file = folder / language.file
    file.write_text(code.replace(INBOX, str(folder / "inbox")).replace(PORT, str(port)))
    if name == "go":
        environ = os.environ | {"GO111MODULE": "off", "GOTOOLCHAIN": "local", "GOCACHE": str(folder / "cache")}
        subprocess.run(["go", "build", "-o", str(file.with_suffix("")), str(file)], env=environ, check=True)
    return language.command(file, str(port))


@contextmanager
def started(command: list[str], folder: Path, port: int, **environ: str) -> Iterator[Hook]:
    """A file that runs, as soon as it listens."""
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=os.environ | environ, cwd=folder, stdout=log, stderr=log)
    try:
        hook, deadline = Hook(port, folder / "inbox"), time.monotonic() + PATIENCE
        while not listens(port):
            if process.poll() is not None:
                raise Ended((folder / "log").read_text())
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.02)
        yield hook
    finally:
        process.kill()
        process.wait()


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module", params=LANGUAGES)
def hook(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hook]:
    """The file of each language."""
    folder, port = tmp_path_factory.mktemp(request.param), free_port()
    with started(placed(request.param, folder, port), folder, port, SMS_SECRET=SECRET) as running:
        yield running


def ago(seconds: float) -> int:
    return int(time.time() - seconds)


def test_what_forward_sends_is_taken_and_kept_as_it_was_sent(hook: Hook) -> None:
    event = testing.message("Grüße 👋")
    (result,) = asyncio.run(testing.run(Forward, event, url=hook.url, secret=[OTHER, SECRET]))
    assert (result.verdict, result.answer) == ("done", "204")
    assert hook.kept()[f"{event.id}.json"] == event.to_json().decode()


@pytest.mark.parametrize("secrets", [[SECRET], [SECRET, OTHER], [OTHER, SECRET]], ids=["one", "first", "second"])
def test_one_signature_that_is_known_is_enough(hook: Hook, secrets: list[str]) -> None:
    assert hook.post(BODY, signed("known", *secrets)) == 204


def test_the_same_id_again_is_kept_once(hook: Hook) -> None:
    assert [hook.post(BODY, signed("again", SECRET)) for _ in range(2)] == [204, 204]
    assert [name for name in hook.kept() if name.startswith("again")] == ["again.json"]


GOOD = signed("refused", SECRET)
NOT_OURS = {
    "another body": (BODY.replace("👋", "!"), GOOD),
    "another id": (BODY, GOOD | {"webhook-id": "refused-2"}),
    "another time": (BODY, GOOD | {"webhook-timestamp": str(ago(1))}),
    "another secret": (BODY, signed("refused", OTHER)),
    "no signature": (BODY, {name: value for name, value in GOOD.items() if name != "webhook-signature"}),
    "an empty one": (BODY, GOOD | {"webhook-signature": ""}),
    "one of another sort": (BODY, GOOD | {"webhook-signature": GOOD["webhook-signature"].replace("v1,", "v1a,")}),
    "one beyond ASCII": (BODY, GOOD | {"webhook-signature": "v1," + "é" * 44}),
    "no headers at all": (BODY, {}),
}


@pytest.mark.parametrize("case", NOT_OURS)
def test_what_was_not_signed_so_is_refused_and_not_kept(hook: Hook, case: str) -> None:
    assert hook.post(*NOT_OURS[case]) == 401
    assert not any(name.startswith("refused") for name in hook.kept())


@pytest.mark.parametrize("seconds", [-3600, -310, 310, 3600])
def test_what_was_signed_more_than_five_minutes_ago_or_ahead_is_refused(hook: Hook, seconds: int) -> None:
    assert hook.post(BODY, signed("late", SECRET, at=datetime.fromtimestamp(ago(seconds), UTC))) == 401
    assert "late.json" not in hook.kept()


@pytest.mark.parametrize("seconds", [-280, 280])
def test_clocks_may_differ_by_less(hook: Hook, seconds: int) -> None:
    assert hook.post(BODY, signed("near", SECRET, at=datetime.fromtimestamp(ago(seconds), UTC))) == 204


SECRETS = pytest.mark.parametrize("environ", [{}, {"SMS_SECRET": ""}, {"SMS_SECRET": "whsec_"}], ids=str)


@SECRETS
@pytest.mark.parametrize("name", sorted(LANGUAGES.keys() - {"php"}))
def test_without_a_secret_a_server_does_not_start(name: str, environ: dict[str, str], tmp_path: Path) -> None:
    port = free_port()
    command = placed(name, tmp_path, port)
    with pytest.raises(Ended, match="SMS_SECRET is not set"), started(command, tmp_path, port, **environ):
        pass


@SECRETS
def test_without_a_secret_a_script_takes_nothing(environ: dict[str, str], tmp_path: Path) -> None:
    port = free_port()
    with started(placed("php", tmp_path, port), tmp_path, port, **environ) as hook:
        assert hook.post(BODY, signed("nobody", NO_KEY)) == 500
        assert hook.kept() == {}
