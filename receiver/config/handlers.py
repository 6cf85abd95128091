"""The [handlers.NAME] tables: checked without their code on the receiving side, with it where they run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from receiver import plugins
from receiver.config.faults import Faults, keys
from receiver.config.settings import Settings
from receiver.errors import ConfigFault, PluginFault
from receiver.events import Status
from receiver.handler import BaseHandler, HandlerSettings
from receiver.plugins import did_you_mean

COMMON = frozenset(HandlerSettings.model_fields)


def check_table(
    name: str, table: dict[str, Any], directory: Path | None, sources: Sequence[str], faults: Faults
) -> None:
    """Add the faults of a table's common keys, and of a `use` that is nowhere. Imports no handler."""
    path = ("handlers", name)
    try:
        common = {key: value for key, value in table.items() if key in COMMON}
        settings = HandlerSettings.model_validate(common)
    except ValidationError as fault:
        faults.add_all(path, fault, table, COMMON)
        return
    try:
        plugins.find_handler(settings.use, directory)
    except PluginFault as fault:
        faults.add((*path, "use"), str(fault))
    for key, given, known in (("sources", settings.sources, sources), ("statuses", settings.statuses, list(Status))):
        for each in given:
            if each not in known:
                what = f'no {key.removesuffix("es" if key == "statuses" else "s")} "{each}"'
                faults.add((*path, key), f"{what}; known: {', '.join(known)}{did_you_mean(each, known)}")


def handler_settings(settings: Settings, name: str, *, secrets: bool) -> tuple[type[BaseHandler], HandlerSettings]:
    """A handler's class and its validated settings; imports its code. Raises ConfigFault with every fault."""
    table = settings.handlers[name]
    faults = Faults(settings.file, settings.origins)
    try:
        handler = plugins.handler_class(table["use"], settings.plugins.directory)
        context = {"secrets": secrets, "folder": settings.folder}
        validated = handler.Settings.model_validate(table, context=context)
    except PluginFault as fault:
        faults.add(("handlers", name, "use"), str(fault))
    except ValidationError as fault:
        faults.add_all(("handlers", name), fault, table, keys(handler.Settings))
    if faults:
        raise ConfigFault(*faults)
    return handler, validated


def check_handlers(settings: Settings, *, secrets: bool) -> list[str]:
    """The faults of all handlers; imports their code."""
    faults: list[str] = []
    for name, table in settings.handlers.items():
        if not isinstance(table.get("use"), str):
            continue  # a fault of the table itself, found when it was read
        try:
            handler_settings(settings, name, secrets=secrets)
        except ConfigFault as fault:
            faults += fault.faults
    return faults
