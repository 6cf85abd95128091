"""What the environment may say."""

from datetime import timedelta
from pathlib import Path

import pytest

from config.files import SECRET, SOURCE, faults, load
from receiver import config
from receiver.errors import ConfigFault


def test_the_environment_wins_over_the_file() -> None:
    env = {
        "RECEIVER_LOG__LEVEL": "debug",
        "RECEIVER_SOURCES__SPRYNG__TIMEZONE": "UTC",
        "RECEIVER_STORE__KEEP": "8 days",
    }
    settings = load(SOURCE + '[log]\nlevel = "error"', env=env)
    assert settings.log.level == "debug"
    assert settings.sources["spryng"].adapter.timezone == "UTC"
    assert settings.store.keep == timedelta(days=8)


def test_lists_and_tables_in_the_environment_are_json(folder: Path) -> None:
    (folder / "s").write_text(SECRET)
    env = {
        "RECEIVER_SOURCES__SPRYNG__SECRETS": '[{"file": "s"}]',
        "RECEIVER_HANDLERS__ON_CALL": '{"use": "log", "statuses": ["failed"]}',
        "RECEIVER_HANDLERS__ON_CALL__REVEAL": "true",
        "RECEIVER_HANDLERS__ON_CALL__CONCURRENCY": "2",
    }
    settings = load(SOURCE, env=env)
    assert settings.sources["spryng"].secrets == [SECRET]
    _, handler = config.handler_settings(settings, "on-call", secrets=False)
    assert (handler.statuses, handler.concurrency) == (["failed"], 2)


def test_a_secrets_place_can_be_set_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "token")
    env = {"RECEIVER_SERVER__ADMIN_TOKEN__ENV": "OURS"}
    assert load(SOURCE, env=env).server.admin_token == "token"


def test_sources_in_the_environment_alone_are_a_configuration_and_no_trial() -> None:
    env = {"RECEIVER_SOURCES__SPRYNG__PROVIDER": "spryng", "RECEIVER_SOURCES__SPRYNG__SECRETS": f'["{SECRET}"]'}
    settings = config.load(env=env, secrets=True)
    assert not settings.trial
    assert list(settings.sources) == ["spryng"]
    with pytest.raises(ConfigFault, match=r"^environment: sources\.spryng: needs secrets"):
        config.load(env={"RECEIVER_SOURCES__SPRYNG__PROVIDER": "spryng"})


def test_an_unknown_variable_is_a_fault_with_what_was_meant() -> None:
    env = {"RECEIVER_LOG__LEVL": "info", "RECEIVER_FOO__BAR": "1", "RECEIVER_SERVER_LISTEN": "127.0.0.1:1"}
    assert faults(SOURCE, env=env) == (
        "RECEIVER_FOO__BAR: unknown key",
        "RECEIVER_LOG__LEVL: unknown key; did you mean RECEIVER_LOG__LEVEL?",
        "RECEIVER_SERVER_LISTEN: unknown key; did you mean RECEIVER_SERVER__LISTEN?",
    )


def test_a_bad_value_in_the_environment_names_the_variable() -> None:
    env = {"RECEIVER_LOG__LEVEL": "loud", "RECEIVER_SOURCES__SPRYNG__SECRETS": "[oops"}
    assert faults(SOURCE, env=env) == (
        "RECEIVER_SOURCES__SPRYNG__SECRETS: sources.spryng.secrets: a secret in a URL is 16 or more of "
        "A-Z a-z 0-9 _ -; receiver init makes good ones",
        'RECEIVER_LOG__LEVEL: log.level: expected "debug", "info", "warning" or "error"',
    )


def test_variables_that_are_no_keys_are_left_alone() -> None:
    env = {"RECEIVER_CONFIG": "", "RECEIVER_TEST_POSTGRES": "x", "RECEIVER_PORT_8080_TCP": "tcp://10.0.0.1:8080"}
    assert load(SOURCE, env=env)
