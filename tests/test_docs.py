"""What is written holds: links lead somewhere, configurations load, commands exist, and nothing is left out."""

import ast
import json
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
from factories import NOW

import receiver
from receiver import config
from receiver.admin.pages import StatsMetrics
from receiver.callback import Callback
from receiver.cli import EX_CONFIG, Commands
from receiver.cli import receiver as command_line
from receiver.cli.verdict import VERDICTS
from receiver.events import MEANINGS, DeliveryReport, InboundMessage, Notice, Reason, event_from
from receiver.metrics import Meter
from receiver.notices import ENDINGS
from receiver.store.views import HandlerStats, SourceStats, Standing, Stats

ROOT = Path(__file__).parents[1]
PATTERNS = ("*.md", "drills/*.md", "benchmarks/*.md", "docs/**/*.md")
PAGES = sorted(path.relative_to(ROOT) for pattern in PATTERNS for path in ROOT.glob(pattern))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECTIONS = {"server", "store", "log", "sources", "handlers", "plugins"}
SOURCE = '\n[sources.spryng]\nprovider = "spryng"\nsecrets = ["abcdefghijklmnop"]\n'


def text(page: Path | str) -> str:
    return (ROOT / page).read_text()


def fences(page: Path | str, language: str) -> list[str]:
    return [body for name, body in FENCE.findall(text(page)) if name == language]


def prose(page: Path | str) -> str:
    return FENCE.sub("", text(page))


def section(page: str, heading: str) -> str:
    """What stands below a heading, up to the next one."""
    return re.split(rf"^#+ {re.escape(heading)}$", text(page), flags=re.MULTILINE)[1].split("\n#")[0]


def rows(table: str) -> list[list[str]]:
    """The cells of the rows whose first cell is code, without the backticks around it."""
    lines = [line.strip().strip("|").split("|") for line in table.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line] for line in lines]


def codes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# links


def links(page: Path) -> Iterator[str]:
    yield from (link for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)) if "://" not in link)


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (ROOT / page.parent / path).resolve() if path else ROOT / page
        if not target.exists() or (anchor and anchor not in anchors(target.relative_to(ROOT))):
            broken.append(link)
    assert broken == []


def test_every_page_can_be_reached_from_the_index_and_the_index_from_the_readme() -> None:
    seen = {Path("docs/index.md")}
    waiting = list(seen)
    while waiting:
        page = waiting.pop()
        targets = {(ROOT / page.parent / link.partition("#")[0]).resolve() for link in links(page)}
        new = {target.relative_to(ROOT) for target in targets if target.suffix == ".md" and target.exists()} - seen
        seen |= new
        waiting += new
    assert [str(page) for page in PAGES if page.parts[0] == "docs" and page not in seen] == []
    assert "docs/index.md" in links(Path("README.md"))


# configurations, commands, examples

CONFIGURATIONS = [
    pytest.param(page, body, id=f"{page}-{number}")
    for page in PAGES
    for number, body in enumerate(fences(page, "toml"), 1)
    if SECTIONS & tomllib.loads(body).keys()
]


@pytest.fixture
def own_modules() -> Iterator[None]:
    """What is loaded here is no other test's."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("acme_sms", "receiver_dropin")):
            del sys.modules[name]


@pytest.mark.usefixtures("own_modules")
@pytest.mark.parametrize(("page", "body"), CONFIGURATIONS)
def test_every_configuration_loads(page: Path, body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the handlers that stand on the same page, in the folder it names."""
    own = tmp_path / "handlers.d"
    own.mkdir()
    for code in fences(page, "python"):
        if name := re.search(r"^class (\w+)\(BaseHandler\)", code, re.MULTILINE):
            (own / f"{name[1].lower()}.py").write_text(code)
    (tmp_path / "acme_sms").mkdir()
    (tmp_path / "acme_sms/pager.py").write_text(
        "from receiver import BaseHandler\nclass Pager(BaseHandler):\n    async def handle(self, event, attempt): ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    tables = tomllib.loads(body)
    body = body.replace("/etc/receiver/handlers.d", str(own))
    body += "" if "sources" in tables else SOURCE
    body += "" if "plugins" in tables else f'\n[plugins]\ndirectory = "{own}"\n'
    file = tmp_path / "receiver.toml"
    file.write_text(body)
    settings, faults = config.examine(file, env={})
    assert faults + config.check_handlers(settings, secrets=False) == []


def spoken() -> Iterator[tuple[str, list[str]]]:
    """Every command of ours that a page names, in its words."""
    for page in PAGES:
        lines = [line for language in ("sh", "") for body in fences(page, language) for line in body.splitlines()]
        for said in lines + re.findall(r"`([^`\n]+)`", prose(page)):
            for found in re.finditer(r"(?:^|\$ |\.venv/bin/|-- |&& |sudo |[|] |-r )receiver (?=[a-z])", said):
                words = shlex.split(re.split(r" &&|  +#|[…|]", said[found.end() :])[0].replace("'", " "))
                yield f"{page}: {said}", words


def test_every_command_that_is_named_exists_with_its_options() -> None:
    unknown = [said for said, words in spoken() if not exists(command_line, words)]
    assert unknown == []


def exists(command: click.Command, words: list[str]) -> bool:
    for word in words:
        if isinstance(command, click.Group) and (found := command.get_command(click.Context(command), word)):
            command = found
        elif isinstance(command, Commands):
            return False
    options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    return all(word.partition("=")[0] in options for word in words if word.startswith("--"))


def test_the_page_on_messages_explains_every_verdict() -> None:
    table = rows(section("docs/how-to/did-message-x-arrive.md", "What the verdict means"))
    told = {word for row in table for word in codes(row[0])}
    assert told == {words.split()[0].rstrip(",") for words in VERDICTS.values()} | {"RECEIVED"}


def test_the_provider_of_the_how_to_reads_its_case() -> None:
    page = "docs/how-to/add-a-provider.md"
    module: dict[str, Any] = {}
    exec(fences(page, "python")[0], module)
    (case,) = tomllib.loads(fences(page, "toml")[0])["case"]
    callback = Callback(
        source="acme", endpoint=case["endpoint"], method="GET", query=case["query"].encode(), received_at=NOW
    )
    (event,) = module["Acme"](module["Acme"].Settings()).parse(callback)
    assert {name: event.data[name] for name in case["event"]} == case["event"]


def test_the_units_command_and_exit_status_are_ours() -> None:
    unit = ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(ROOT / "systemd/receiver.service")
    program, *words = shlex.split(unit["Service"]["ExecStart"])
    assert Path(program).name == "receiver"
    assert exists(command_line, words)
    assert unit["Service"]["RestartPreventExitStatus"] == str(EX_CONFIG)


def test_every_unit_that_is_named_is_one_of_ours() -> None:
    named = {unit for page in PAGES for unit in re.findall(r"\breceiver[a-z-]*\.(?:service|socket)\b", text(page))}
    assert named - {path.name for path in (ROOT / "systemd").iterdir()} == set()
    assert named


# the reference: events and answers

HTTP = "docs/reference/http.md"


def test_the_reference_has_every_key_of_an_event_and_no_other() -> None:
    table = rows(section(HTTP, "Delivery reports and messages"))
    documented = {kind: {codes(row[0])[0] for row in table if kind in row[1].split(", ")} for kind in ("dlr", "mo")}
    assert documented == {"dlr": set(DeliveryReport().data), "mo": set(InboundMessage().data)}


def test_the_reference_has_every_key_of_a_notice_and_no_other() -> None:
    names = {codes(row[0])[0] for row in rows(section(HTTP, "Notices"))}
    assert names == set(Notice().data) | set(ENDINGS)


def test_the_reference_has_every_key_of_the_envelope_and_no_other() -> None:
    names = {codes(row[0])[0] for row in rows(section(HTTP, "Events"))}
    assert names == set(json.loads(DeliveryReport(message_id="1").to_json()))


def test_the_reference_tells_what_every_status_means() -> None:
    told = {codes(row[0])[0]: (row[1], row[2] == "yes", int(row[3])) for row in rows(section(HTTP, "Statuses"))}
    assert told == {status.value: tuple(meaning) for status, meaning in MEANINGS.items()}


def test_the_reference_has_every_reason_and_no_other() -> None:
    assert {codes(row[0])[0] for row in rows(section(HTTP, "Reasons"))} == {reason.value for reason in Reason}


def test_the_event_of_the_reference_is_one_of_ours() -> None:
    example = json.loads(fences(HTTP, "json")[0])
    assert json.loads(event_from(example).to_json()) == example


# the reference: metrics


class Metric(NamedTuple):
    type: str
    labels: frozenset[str]


def exported() -> dict[str, Metric]:
    """Every metric, after something of each kind has happened."""
    meter = Meter()
    meter.answered("spryng", "stored", 0.001)
    meter.refused("spryng", "wrong_secret")
    meter.watch({"spryng": (b"digest",)})
    counts = dict.fromkeys(("received", "done", "filtered", "cancelled", "pending", "running", "dead"), 1)
    handler = HandlerStats("log", "ok", **counts, oldest_pending_at=NOW, standing=Standing("log"))
    stats = Stats(handlers=(handler,), sources=(SourceStats("spryng"),), quarantine={"spryng": 1})
    return {
        f"{family.name}_total" if family.type == "counter" else family.name: Metric(
            family.type, frozenset(label for sample in family.samples for label in sample.labels) - {"le"}
        )
        for family in [*meter.registry.collect(), *StatsMetrics(stats).collect()]
    }


def test_the_reference_has_every_metric_and_no_other() -> None:
    table = [row for row in rows(text("docs/reference/metrics.md")) if len(row) == 4]
    assert {codes(row[0])[0]: Metric(row[1], frozenset(codes(row[2]))) for row in table} == exported()


def test_the_reference_has_every_reason_of_a_refusal_and_no_other() -> None:
    calls = [node for node in ast.walk(ast.parse(text("receiver/web.py"))) if isinstance(node, ast.Call)]
    refusals = [call.args[0] for call in calls if getattr(call.func, "id", "") == "_Refused"]
    in_code = {node.value for reason in refusals for node in ast.walk(reason) if isinstance(node, ast.Constant)}
    (told,) = [codes(row[1]) for row in rows(text("docs/reference/metrics.md")) if row[0] == "`reason`"]
    assert set(told) == in_code


# promises and changes


def test_every_test_that_is_named_exists() -> None:
    named = {named for page in PAGES for named in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text(page))}
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).exists() or (name and not re.search(rf"def {name}\(", text(path)))
    ]
    assert named
    assert missing == []


def test_the_changelog_has_this_version() -> None:
    released, *_ = re.findall(r"^## (.+)$", text("CHANGELOG.md"), re.MULTILINE)
    assert released == "Unreleased" or receiver.__version__ in released
    assert receiver.__version__ in text("CHANGELOG.md")
