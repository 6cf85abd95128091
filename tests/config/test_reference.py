"""What is written about the configuration: the reference and the example have every key, and no other."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from config.files import SOURCE, load
from receiver import plugins
from receiver.config.settings import SECTIONS, SOURCE_KEYS
from receiver.handler import HandlerSettings

ROOT = Path(__file__).parents[2]
HANDLERS = ROOT / "docs/reference/handlers.md"


def documented() -> dict[str, set[str]]:
    """Keys of the reference, by heading."""
    text = (ROOT / "docs/reference/configuration.md").read_text()
    sections = re.split(r"^#+ ", text, flags=re.MULTILINE)
    return {
        part.splitlines()[0].split("`")[1]: set(re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE))
        for part in sections
        if "| key |" in part
    }


def in_code() -> dict[str, set[str]]:
    """Keys of the code, under the headings of the reference."""
    found = {f"[{name}]": set(section.model_fields) for name, section in SECTIONS.items()}
    found["[sources.NAME]"] = set(SOURCE_KEYS)
    found["[handlers.NAME]"] = set(HandlerSettings.model_fields)
    for name in ("spryng", "bulkvs"):
        found[name] = own_keys(plugins.provider_class(name).Settings)
    for name in ("log", "forward", "email"):
        found[name] = own_keys(plugins.handler_class(name, None).Settings) - found["[handlers.NAME]"]
    smtp = plugins.handler_class("email", None).Settings.model_fields["smtp"].annotation
    found["smtp"] = own_keys(smtp)
    return found


def own_keys(model: Any) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def test_the_reference_has_every_key_and_no_other() -> None:
    assert documented() == in_code()


def test_the_page_on_handlers_names_every_key_that_all_have() -> None:
    (section,) = re.findall(r"^## Keys of every handler\n(.*?)^## ", HANDLERS.read_text(), re.MULTILINE | re.DOTALL)
    named = re.findall(r"`(\w+)`", section.split("|---|---|")[1])
    assert sorted(named) == sorted(set(HandlerSettings.model_fields) - {"use"})


def test_the_example_has_every_key_and_no_other() -> None:
    text = (ROOT / "config.example.toml").read_text()
    commented = re.sub(r"^# (?=\w+ = )", "", text, flags=re.MULTILINE)
    mentioned = set(re.findall(r"^(\w+) = ", commented, re.MULTILINE)) | set(re.findall(r"[{,] (\w+) = ", commented))
    forms_of_secrets = {"credential", "file", "env", "Authorization"}
    tables = in_code()
    assert set().union(*tables.values()) - {"file"} - mentioned == set()
    assert mentioned - forms_of_secrets - set().union(*tables.values()) == set()


def test_the_defaults_in_the_example_are_those_of_the_code() -> None:
    example = tomllib.loads((ROOT / "config.example.toml").read_text())
    given = {**example["server"]}
    del given["public_url"]
    settings = load(SOURCE + "[server]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in given.items()))
    assert settings.server == load(SOURCE).server
    for section in ("store", "log"):
        written = "".join(f"{key} = {json.dumps(value)}\n" for key, value in example[section].items())
        assert getattr(load(f"{SOURCE}[{section}]\n{written}"), section) == getattr(load(SOURCE), section)
    audit = {key: value for key, value in example["handlers"]["audit"].items() if key in HandlerSettings.model_fields}
    assert HandlerSettings.model_validate(audit) == HandlerSettings(use="log")
