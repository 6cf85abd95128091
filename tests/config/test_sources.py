"""Who may call: every source is authenticated or says that it is not."""

import pytest

from config.files import SOURCE, faults, load
from receiver import config
from receiver.errors import ConfigFault


def test_a_source_in_a_file_needs_authentication_or_the_words_that_it_wants_none() -> None:
    source = '[sources.a]\nprovider = "spryng"\n'
    assert faults(source) == ('sources.a: needs secrets (receiver init makes them), allow_from, or auth = "none"',)
    assert faults(source + "secrets = []") == faults(source)
    assert load(source + 'auth = "none"').sources["a"].auth == "none"
    assert load(source + 'allow_from = ["192.0.2.0/24"]').sources["a"].allow_from


def test_no_authentication_beside_secrets_is_a_contradiction() -> None:
    assert faults(SOURCE + 'auth = "none"') == ('sources.spryng.auth: "none" beside secrets; remove one of them',)


@pytest.mark.parametrize(
    ("server", "possible"),
    [
        ("trusted_proxies = []", False),
        ('trusted_proxies = ["10.0.0.0/8"]', False),
        ('listen = "localhost:8080"\ntrusted_proxies = []', False),
        ('trusted_proxies = ["127.0.0.1"]', True),
        ('listen = "0.0.0.0:8080"\ntrusted_proxies = []', True),
        ('listen = "unix:/run/x.sock"\ntrusted_proxies = []', True),
    ],
)
def test_an_allow_list_that_can_never_match_is_a_fault(server: str, possible: bool) -> None:
    text = f'[server]\n{server}\n{SOURCE}allow_from = ["192.0.2.0/24"]'
    if possible:
        assert load(text)
    else:
        assert faults(text)[0].startswith("sources.spryng.allow_from: can never match")


def test_loopback_in_an_allow_list_matches_without_any_proxy() -> None:
    assert load(f'[server]\ntrusted_proxies = []\n{SOURCE}allow_from = ["127.0.0.1"]')


def test_an_admin_listener_that_others_can_reach_needs_a_token() -> None:
    listen = f'{SOURCE}[server]\nadmin_listen = "0.0.0.0:8081"\n'
    assert faults(listen) == ("server.admin_token: is needed: admin_listen 0.0.0.0:8081 can be reached from elsewhere",)
    assert load(f'{listen}admin_token = "t"').server.admin_token == "t"


@pytest.mark.parametrize("listen", ["", "unix:/run/admin.sock", "[::1]:1", "localhost:1", "127.9.9.9:1"])
def test_an_admin_listener_for_this_machine_alone_needs_none(listen: str) -> None:
    assert load(f'{SOURCE}[server]\nadmin_listen = "{listen}"').server.admin_listen == listen


def test_the_trial_is_for_this_machine_alone() -> None:
    with pytest.raises(ConfigFault, match=r"server\.listen: without configured sources only this machine"):
        config.load(env={"RECEIVER_SERVER__LISTEN": "0.0.0.0:8080"})
