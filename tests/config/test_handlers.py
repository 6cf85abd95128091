"""The [handlers.NAME] tables: without their code, and with it; and what is warned of."""

from pathlib import Path

from config.files import SOURCE, load
from receiver import BaseHandler, config


def test_loading_imports_no_handler(folder: Path) -> None:
    (folder / "own").mkdir()
    (folder / "own/pager.py").write_text("raise SystemExit('imported')")
    settings = load(f'{SOURCE}[plugins]\ndirectory = "own"\n[handlers.pager]\nuse = "pager"\nwhatever = 1')
    assert settings.handlers["pager"] == {"use": "pager", "whatever": 1}
    assert "imported" in config.check_handlers(settings, secrets=False)[0]


def test_a_handlers_own_keys_are_checked_with_its_class(folder: Path) -> None:
    (folder / "own").mkdir()
    (folder / "own/pager.py").write_text(
        "from receiver import BaseHandler, Secret\n"
        "class Pager(BaseHandler):\n"
        "    class Settings(BaseHandler.Settings):\n"
        "        token: Secret\n"
        "        pause_after: int = 3\n"
        "    async def handle(self, event, attempt): ...\n"
    )
    text = f'{SOURCE}[plugins]\ndirectory = "own"\n[handlers.pager]\nuse = "pager"\n'
    file = Path("receiver.toml").absolute()
    assert config.check_handlers(load(f"{text}pause_afer = 1\nretires = []"), secrets=False) == [
        f"{file}: handlers.pager.token: is missing",
        f"{file}: handlers.pager.pause_afer: unknown key; did you mean pause_after?",
        f"{file}: handlers.pager.retires: unknown key; did you mean retries?",
    ]
    handler, settings = config.handler_settings(load(f'{text}token = "t"'), "pager", secrets=True)
    assert issubclass(handler, BaseHandler)
    assert settings.model_dump()["pause_after"] == 3


def test_a_handlers_own_warnings_are_told_with_its_name() -> None:
    settings = load(f'{SOURCE}[handlers.crm]\nuse = "forward"\nurl = "https://crm.example.com/"')
    Path("receiver.toml").chmod(0o600)
    (warning,) = config.warnings(settings, secrets=True)
    assert warning.startswith(f"{settings.file}: handlers.crm: nothing is signed")


def test_secrets_in_a_file_that_others_may_read_are_warned_of() -> None:
    settings = load(SOURCE)
    assert settings.file
    settings.file.chmod(0o644)
    assert [line.split(": ", 1)[1] for line in config.warnings(settings, secrets=True)] == [
        f"holds secrets, and others may read it; chmod o-r {settings.file}"
    ]
    settings.file.chmod(0o640)
    assert config.warnings(settings, secrets=True) == []
