"""What is no fault of a configuration, but should be said."""

from receiver.config.handlers import handler_settings
from receiver.config.settings import Settings

OTHERS_MAY_READ = 0o004


def warnings(settings: Settings, *, secrets: bool) -> list[str]:
    """One line each, as a fault's: open sources, secrets others may read, and what the handlers say of themselves.

    Imports the handlers' code. Raises ConfigFault where `check_handlers` would find faults.
    """
    where = settings.file or "environment"
    found = [
        f'{where}: sources.{source.name}: auth = "none": anybody who finds its URL can send events'
        for source in settings.sources.values()
        if source.auth == "none" and not source.allow_from
    ]
    if settings.file and settings.literals and settings.file.stat().st_mode & OTHERS_MAY_READ:
        found.append(f"{settings.file}: holds secrets, and others may read it; chmod o-r {settings.file}")
    for name in settings.handlers:
        _, own = handler_settings(settings, name, secrets=secrets)
        says = getattr(own, "warnings", None)
        found += [f"{where}: handlers.{name}: {said}" for said in (says() if callable(says) else ())]
    return found
