"""Plug-ins: found by name, path or file; missing, broken and ambiguous ones told apart."""

import asyncio
import re
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from receiver import Attempt, BaseHandler, DeliveryReport, Retry, plugins
from receiver.errors import PluginFault
from receiver.handler import HandlerSettings

pytestmark = pytest.mark.anyio

ATTEMPT = Attempt(
    number=1,
    of=12,
    handler="own",
    dispatch_id="d",
    deadline=datetime(2026, 1, 1, tzinfo=UTC),
    first_at=datetime(2026, 1, 1, tzinfo=UTC),
)
EVENT = DeliveryReport(id="e1", message_id="m1")
CLASS = """\
from receiver import BaseHandler
class Pager(BaseHandler):
    async def handle(self, event, attempt):
        return event.id
"""


@pytest.fixture(autouse=True)
def modules() -> Iterator[None]:
    """What a test imports is gone after it."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("receiver_dropin", "acme")):
            del sys.modules[name]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "handlers.d"
    found.mkdir()
    return found


def make(handler: type[BaseHandler], **keys: Any) -> Any:
    return handler("own", handler.Settings.model_validate({"use": "own", **keys}), log=None)


def install(
    place: Path, monkeypatch: pytest.MonkeyPatch, *, group: str, name: str, value: str, package: str = "acme"
) -> None:
    """Put a distribution with one entry point on the path, as pip would."""
    metadata = place / f"{package}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n")
    monkeypatch.syspath_prepend(place)


def fault(use: str, directory: Path | None = None) -> str:
    with pytest.raises(PluginFault) as caught:
        plugins.handler_class(use, directory)
    return str(caught.value)


# names


def test_the_built_in_ones_come_through_the_entry_points_as_everybodys() -> None:
    assert set(plugins.providers()) >= {"spryng", "bulkvs"}
    assert set(plugins.handlers(None)) >= {"log", "forward", "email"}
    assert plugins.providers()["spryng"] == "receiver.providers.spryng:Spryng of sms-receiver"


@pytest.mark.parametrize("name", ["spryng", "bulkvs"])
def test_every_provider_calls_itself_what_it_is_called(name: str) -> None:
    assert plugins.provider_class(name).name == name


def test_a_third_partys_handler_is_found_by_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "acme_sms.py").write_text(CLASS)
    install(tmp_path, monkeypatch, group="receiver.handlers", name="pager", value="acme_sms:Pager")
    assert plugins.handler_class("pager", None).__name__ == "Pager"
    assert plugins.handlers(None)["pager"] == "acme_sms:Pager of acme"
    assert not plugins.is_builtin("pager", None)


def test_a_dotted_path_needs_no_registration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "acme_sms.py").write_text(CLASS)
    monkeypatch.syspath_prepend(tmp_path)
    assert plugins.handler_class("acme_sms:Pager", None).__name__ == "Pager"


def test_a_file_is_found_by_its_stem(folder: Path) -> None:
    (folder / "pager.py").write_text(CLASS)
    (folder / "_shared.py").write_text("raise AssertionError")
    assert plugins.handler_class("pager", folder).__module__ == "receiver_dropin.pager"
    assert plugins.handlers(folder)["pager"] == str(folder / "pager.py")
    assert "_shared" not in plugins.handlers(folder)


@pytest.mark.parametrize(
    ("use", "builtin"),
    [("log", True), ("receiver.handlers.log:Log", True), ("pager", False), ("acme_sms:Pager", False)],
)
def test_only_ours_are_built_in(folder: Path, use: str, builtin: bool) -> None:
    (folder / "pager.py").write_text(CLASS)
    assert plugins.is_builtin(use, folder) is builtin


def test_the_folder_is_not_on_the_path(folder: Path) -> None:
    (folder / "smtplib.py").write_text(CLASS)
    plugins.handler_class("smtplib", folder)
    assert str(folder) not in sys.path
    assert sys.modules.get("smtplib") is not sys.modules["receiver_dropin.smtplib"]


# missing, broken, twice


def test_a_missing_handler_is_told_with_what_exists(folder: Path) -> None:
    (folder / "slack.py").write_text(CLASS)
    assert fault("slak", folder) == (
        f'no handler "slak"; known: email, forward, log; in {folder}: slack; did you mean slack?'
    )


def test_a_missing_provider_is_told_with_what_exists() -> None:
    with pytest.raises(PluginFault, match=r'^no provider "sprign"; known: bulkvs, spryng; did you mean spryng\?$'):
        plugins.provider_class("sprign")


def test_a_dotted_path_without_a_colon_is_understood_as_a_slip() -> None:
    assert fault("acme.sms.Pager").endswith("did you mean acme.sms:Pager?")


def test_a_package_that_is_not_installed_is_no_broken_import() -> None:
    assert fault("acme_nowhere.sms:Pager") == (
        'handler "acme_nowhere.sms:Pager": there is no module acme_nowhere; is its package installed?'
    )


def test_a_class_that_is_not_there_is_told_with_what_was_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "acme_sms.py").write_text(CLASS)
    monkeypatch.syspath_prepend(tmp_path)
    assert fault("acme_sms:Pagr") == 'handler "acme_sms:Pagr": acme_sms holds no Pagr; did you mean Pager?'


@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        ("import acme_missing\n", "ModuleNotFoundError: No module named 'acme_missing'", 1),
        ("\n\nx = 1 / 0\n", "ZeroDivisionError: division by zero", 3),
        ("\ndef broken(:\n", "SyntaxError: invalid syntax", 2),
        ("raise SystemExit\n", "SystemExit: no message", 1),
    ],
)
def test_a_broken_import_is_told_with_its_error_and_line(folder: Path, text: str, said: str, line: int) -> None:
    file = folder / "pager.py"
    file.write_text(text)
    told = fault("pager", folder)
    assert f"({file}) cannot be imported: {said}" in told
    assert told.endswith(f"at {file}:{line}")
    assert "receiver_dropin.pager" not in sys.modules


def test_a_name_in_two_places_is_an_error_that_lists_both(folder: Path) -> None:
    (folder / "log.py").write_text(CLASS)
    assert fault("log", folder) == (
        f'handler "log" is there 2 times: receiver.handlers.log:Log of sms-receiver and {folder / "log.py"}; '
        "rename or remove one"
    )


def test_a_provider_from_two_packages_is_an_error_that_lists_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, group="receiver.providers", name="spryng", value="acme:Spryng")
    with pytest.raises(PluginFault, match=r"spryng:Spryng of sms-receiver and acme:Spryng of acme|acme.* and receiver"):
        plugins.provider_class("spryng")


def test_what_is_no_provider_is_told() -> None:
    with pytest.raises(PluginFault, match="is no provider"):
        plugins.provider_class("receiver.handler:Attempt")


def test_a_file_others_may_write_is_refused(folder: Path) -> None:
    (folder / "pager.py").write_text(CLASS)
    (folder / "pager.py").chmod(0o666)
    assert "others may write this file" in fault("pager", folder)


# what a file may hold


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", "holds no handler"),
        (f"{CLASS}class Second(Pager): ...\n", "holds several handlers: Pager, Second"),
        ("def handle(event): ...\n", "handle takes 1 arguments; write handle(event, attempt)"),
        ("from receiver import BaseHandler\nclass Pager(BaseHandler): ...\n", "has neither handle(event, attempt) nor"),
        (f"{CLASS}    Settings = dict\n", "its Settings is no subclass of BaseHandler.Settings"),
    ],
)
def test_a_file_that_holds_not_one_handler_is_told(folder: Path, text: str, said: str) -> None:
    (folder / "pager.py").write_text(text)
    assert said in fault("pager", folder)


def test_a_base_class_with_a_leading_underscore_does_not_count(folder: Path) -> None:
    (folder / "pager.py").write_text(CLASS.replace("class Pager", "class _Base") + "class Pager(_Base): ...\n")
    assert plugins.handler_class("pager", folder).__name__ == "Pager"


async def test_an_async_function_is_a_handler(folder: Path) -> None:
    (folder / "pager.py").write_text("async def handle(event, attempt):\n    return f'{event.id} {attempt.number}'\n")
    handler = plugins.handler_class("pager", folder)
    assert handler.Settings is HandlerSettings
    assert await make(handler).handle(EVENT, ATTEMPT) == "e1 1"


@pytest.mark.parametrize("base", ["", "(BaseHandler.Settings)"])
async def test_a_function_may_have_settings(folder: Path, base: str) -> None:
    (folder / "pager.py").write_text(
        f"from receiver import BaseHandler\nclass Settings{base}:\n    tone: str\n    loud: bool = False\n"
        "async def handle(event, attempt, settings):\n    return f'{settings.tone} {settings.loud}'\n"
    )
    handler = plugins.handler_class("pager", folder)
    assert await make(handler, tone="beep").handle(EVENT, ATTEMPT) == "beep False"
    with pytest.raises(ValueError, match="Extra inputs"):
        make(handler, tone="beep", tune=1)


async def test_a_plain_function_runs_in_a_thread_and_its_verdicts_count(folder: Path) -> None:
    (folder / "pager.py").write_text(
        "import threading\nfrom receiver import Retry\n"
        "def handle(event, attempt):\n"
        "    if attempt.number == 2:\n        raise Retry('later')\n"
        "    return threading.current_thread().name\n"
    )
    handler = make(plugins.handler_class("pager", folder))
    assert await handler.handle(EVENT, ATTEMPT) != threading.current_thread().name
    with pytest.raises(Retry, match="later"):
        await handler.handle(EVENT, SimpleNamespace(number=2))


async def test_plain_methods_of_a_class_run_in_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "acme_plain.py").write_text(
        "from receiver import BaseHandler\n"
        "class Plain(BaseHandler):\n"
        "    def open(self): self.opened = True\n"
        "    def handle_batch(self, events, attempt): return {event.id: self.opened for event in events}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    handler = make(plugins.handler_class("acme_plain:Plain", None))
    await handler.open()
    assert await handler.handle_batch([EVENT], ATTEMPT) == {"e1": True}
    await handler.close()


async def test_as_many_plain_calls_run_at_once_as_concurrency_says(folder: Path) -> None:
    (folder / "meet.py").write_text(
        "import threading\ntogether = threading.Barrier(40, timeout=10)\n"
        "def handle(event, attempt):\n    together.wait()\n    return 'met'\n"
    )
    handler = make(plugins.handler_class("meet", folder), concurrency=40)
    assert await asyncio.gather(*(handler.handle(EVENT, ATTEMPT) for _ in range(40))) == ["met"] * 40


def test_async_handlers_are_taken_as_they_are() -> None:
    from receiver.handlers.log import Log

    assert plugins.handler_class("log", None) is Log


@pytest.mark.parametrize("name", ["log", "forward", "email"])
def test_a_built_in_handler_works_when_its_file_is_copied_alone(folder: Path, name: str) -> None:
    ours = Path(sys.modules[plugins.handler_class(name, None).__module__].__file__ or "")
    (folder / "copied.py").write_text(ours.read_text())
    copied = plugins.handler_class("copied", folder)
    assert set(copied.Settings.model_fields) == set(plugins.handler_class(name, None).Settings.model_fields)
    assert re.search("handle", " ".join(vars(copied)))
