"""Where the configuration is found, what is read, and what is refused in which words."""

from datetime import timedelta
from pathlib import Path

import pytest

from config.files import SECRET, SOURCE, faults, load, write
from receiver import Secret, config
from receiver.errors import ConfigFault

ROOT = Path(__file__).parents[2]


# where it is


def test_without_any_file_it_is_the_trial_on_loopback(folder: Path) -> None:
    settings = config.load(env={})
    assert settings.trial
    assert settings.file is None
    assert settings.server.listen == "127.0.0.1:8080"
    assert settings.store.path == folder / "receiver.db"
    assert list(settings.sources) == ["spryng", "bulkvs"]
    assert not any(source.secrets for source in settings.sources.values())
    assert settings.handlers == {"log": {"use": "log"}}


@pytest.mark.parametrize(
    "places",
    [["named", "variable", "local", "system"], ["variable", "local", "system"], ["local", "system"], ["system"]],
)
def test_the_first_place_with_a_file_wins(folder: Path, places: list[str]) -> None:
    files = {"named": "a.toml", "variable": "b.toml", "local": "receiver.toml", "system": "etc.toml"}
    for place in places:
        write(SOURCE, files[place])
    named = Path("a.toml") if "named" in places else None
    env = {"RECEIVER_CONFIG": "b.toml"} if "variable" in places else {}
    assert config.load(named, env=env).file == folder / files[places[0]]


@pytest.mark.parametrize(("named", "env"), [(Path("no.toml"), {}), (None, {"RECEIVER_CONFIG": "no.toml"})])
def test_a_named_file_that_does_not_exist_is_a_fault(named: Path | None, env: dict[str, str]) -> None:
    write(SOURCE)
    with pytest.raises(ConfigFault, match=r"^no\.toml: there is no such file"):
        config.load(named, env=env)


def test_a_file_others_may_write_is_refused() -> None:
    file = write(SOURCE)
    file.chmod(0o646)
    with pytest.raises(ConfigFault, match="others may write this file; chmod o-w"):
        config.load(file, env={})


def test_a_plug_in_folder_others_may_write_is_refused(folder: Path) -> None:
    (folder / "own").mkdir()
    (folder / "own").chmod(0o777)
    assert faults(SOURCE + '[plugins]\ndirectory = "own"') == (
        f"plugins.directory: others may write {folder / 'own'}; chmod o-w {folder / 'own'}",
    )


def test_relative_paths_count_from_the_files_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "etc/own").mkdir(parents=True)
    (folder / "etc/secret").write_text(f"{SECRET}\n")
    file = write(
        '[server]\nlisten = "unix:run/http.sock"\n[plugins]\ndirectory = "own"\n'
        '[sources.a]\nprovider = "spryng"\nsecrets = { file = "secret" }',
        "etc/receiver.toml",
    )
    settings = config.load(file, secrets=True, env={})
    assert settings.store.path == folder / "etc/receiver.db"
    assert settings.plugins.directory == folder / "etc/own"
    assert settings.server.listen.path == folder / "etc/run/http.sock"
    assert settings.sources["a"].secrets == [SECRET]


def test_four_slashes_make_an_absolute_store() -> None:
    assert load(SOURCE + '[store]\nurl = "sqlite:////var/lib/x.db"').store.path == Path("/var/lib/x.db")


# what is read


def test_every_key_of_the_example_is_understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("spryng", "bulkvs", "crm", "smtp"):
        (tmp_path / name).write_text(
            "whsec_" + "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=" if name == "crm" else SECRET
        )
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    settings = config.load(ROOT / "config.example.toml", secrets=True, env={})
    assert config.check_handlers(settings, secrets=True) == []
    assert config.warnings(settings, secrets=True) == []
    assert settings.credentials


def test_values_are_of_the_types_the_engine_works_with() -> None:
    settings = load(
        SOURCE
        + 'allow_from = ["192.0.2.7", "2001:db8::/32"]\nmo_dedupe = "off"\ntimezone = "UTC"\n'
        + '[server]\nlisten = "[::1]:0"\nmax_body = "1 MiB"\npublic_url = "https://sms.example.com/"\n'
        + '[store]\nkeep = "2 weeks"\nreserve = "1 MB"\n[log]\nreveal = true'
    )
    assert (settings.server.listen.host, settings.server.listen.port) == ("::1", 0)
    assert settings.server.max_body == 2**20
    assert settings.server.public_url == "https://sms.example.com"
    assert settings.store.keep == timedelta(days=14)
    assert settings.store.reserve == 1_000_000
    assert [str(network) for network in settings.sources["spryng"].allow_from] == ["192.0.2.7/32", "2001:db8::/32"]
    assert settings.sources["spryng"].adapter.timezone == "UTC"


@pytest.mark.parametrize("written", [f'"{SECRET}"', f'["{SECRET}"]', '{ env = "OURS" }', '[{ env = "OURS" }]'])
def test_one_secret_may_stand_without_brackets(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", SECRET)
    source = load(f'[sources.a]\nprovider = "spryng"\nsecrets = {written}').sources["a"]
    assert source.secrets == [SECRET]
    assert isinstance(source.secrets[0], Secret)


def test_secrets_that_are_not_asked_for_are_not_read_but_count() -> None:
    source = load('[sources.a]\nprovider = "spryng"\nsecrets = [{ file = "none" }]', secrets=False).sources["a"]
    assert source.secrets == [""]


def test_a_byte_order_mark_is_no_fault() -> None:
    assert load("\ufeff" + SOURCE).sources


# what is refused


def test_all_faults_are_told_at_once_with_what_was_meant() -> None:
    text = """
        colour = 1
        [servr]
        [server]
        listn = "127.0.0.1:8080"
        [log]
        level = "warn"
        [sources.spryng]
        provider = "spring"
        [sources.bulkvs]
        provider = "bulkvs"
        secrets = ["abcdefghijklmnop"]
        text_encodin = "auto"
        [handlers.slack]
        use = "lgo"
        statuses = ["deliverd"]
        sources = ["bulkv"]
    """
    assert set(faults(text)) == {
        "colour: unknown key",
        "servr: unknown key; did you mean server?",
        "server.listn: unknown key; did you mean listen?",
        'log.level: expected "debug", "info", "warning" or "error"; did you mean warning?',
        'sources.spryng.provider: no provider "spring"; known: bulkvs, spryng; did you mean spryng?',
        "sources.bulkvs.text_encodin: unknown key; did you mean text_encoding?",
        'handlers.slack.use: no handler "lgo"; known: email, forward, log; did you mean log?',
        'handlers.slack.statuses: no status "deliverd"; known: scheduled, queued, sent, buffered, expired, rejected, '
        "cancelled, failed, delivered, read, unknown; did you mean delivered?",
        'handlers.slack.sources: no source "bulkv"; known: spryng, bulkvs; did you mean bulkvs?',
    }


def test_every_fault_begins_with_the_file() -> None:
    file = write("[server]\nlisten = 1\nmax_body = -1")
    with pytest.raises(ConfigFault) as caught:
        config.load(file, env={})
    assert [line.split(": ")[0] for line in str(caught.value).splitlines()] == [str(file)] * 2


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[server\n", "line 1, column 8: Expected ']' at the end of a table declaration"),
        ("a = 1\na = 2\n", "line 2, column 6: Cannot overwrite a value"),
    ],
)
def test_what_is_no_toml_is_told_with_its_line(text: str, fault: str) -> None:
    assert faults(text) == (fault,)


def test_what_is_no_utf8_is_told_with_its_line(folder: Path) -> None:
    (folder / "receiver.toml").write_bytes(b"# fine\n# \xff\n")
    with pytest.raises(ConfigFault, match="line 2: is not UTF-8 text"):
        config.load(env={})


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('[server]\nlisten = "8080"', "server.listen: expected"),
        ('[server]\nlisten = ""', "server.listen: is empty"),
        ('[server]\nlisten = ":8080"', "server.listen: expected"),
        ('[server]\nlisten = "[nonsense]:8080"', "server.listen: expected"),
        ('[server]\nlisten = "127.0.0.1:70000"', "server.listen: expected"),
        ('[server]\nlisten = "unix:"', "server.listen: expected"),
        ('[server]\ntrusted_proxies = ["localhost"]', "server.trusted_proxies[0]: expected an address"),
        ('[server]\npublic_url = "sms.example.com"', "server.public_url: expected a URL"),
        ('[server]\nmax_body = "big"', 'server.max_body: "big" is no size'),
        ('[server]\nadmin_token = ""', "server.admin_token: is empty"),
        ('[store]\nkeep = "6 days"', "store.keep: at least 7 days"),
        ('[store]\nkeep = "long"', 'store.keep: "long" is no duration'),
        ('[store]\nurl = "postgresql://u@h"', "store.url: names no database"),
        ('[store]\nurl = "postgresql:///d"', "store.url: names no host"),
        ('[store]\nurl = "receiver.db"', 'store.url: expected "sqlite:///receiver.db"'),
        ('[store]\nurl = "sqlite:///:memory:"', 'store.url: expected "sqlite:///receiver.db"'),
        ('[plugins]\ndirectory = "none"', "plugins.directory: there is no folder"),
        ("server = 1", "server: expected a table"),
        ("handlers = 1", "handlers: expected tables: [handlers.NAME]"),
        ("[handlers]\na = 1", "handlers.a: expected a table: [handlers.a]"),
        ('[handlers.Big]\nuse = "log"', "handlers.Big: a name is made of"),
        ('[handlers.a_b]\nuse = "log"', "handlers.a_b: a name is made of"),
        ("[handlers.a]", "handlers.a.use: is missing"),
        (
            '[handlers.a]\nuse = "log"\nkinds = ["dlrs"]',
            'handlers.a.kinds[0]: expected "dlr", "mo" or "notice"; did you mean dlr?',
        ),
        ('[handlers.a]\nuse = "log"\nkinds = "dlr"', "handlers.a.kinds: expected a list"),
        ('[handlers.a]\nuse = "log"\nretries = ["5s", "x"]', 'handlers.a.retries[1]: "x" is no duration'),
        ('[handlers.a]\nuse = "log"\nconcurrency = 0', "handlers.a.concurrency: expected greater than or equal to 1"),
    ],
)
def test_a_bad_value_is_told_with_its_key(text: str, fault: str) -> None:
    (only,) = faults(f"{text}\n{SOURCE}" if text.startswith(("server =", "handlers =")) else f"{SOURCE}{text}")
    assert only.startswith(fault)


@pytest.mark.parametrize("secret", ["short", "sixteen/or/more/x", "a" * 20 + "\\n", "é" * 20])
def test_a_path_secret_that_fits_no_url_is_a_fault_that_does_not_show_it(secret: str) -> None:
    text = f'[sources.a]\nprovider = "spryng"\nsecrets = ["{secret}"]'
    for secrets in (True, False):
        (only,) = faults(text, secrets=secrets)
        assert only.startswith("sources.a.secrets[0]: a secret in a URL is 16 or more")
        assert secret not in only


def test_a_secret_from_a_file_is_held_to_the_same_form(folder: Path) -> None:
    (folder / "weak").write_text("short\n")
    (only,) = faults('[sources.a]\nprovider = "spryng"\nsecrets = [{ file = "weak" }]')
    assert only.startswith("sources.a.secrets[0]: a secret in a URL is 16 or more")
