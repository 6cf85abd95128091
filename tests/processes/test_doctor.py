"""`receiver doctor` beside a receiver that runs, and beside one that has stopped."""

import json
from typing import Any

import pytest
from http_target import Target
from yarl import URL

from drills.yard import Yard, forward_to

pytestmark = pytest.mark.anyio

SOURCES = """
[sources.bulkvs]
provider = "bulkvs"
secrets = ["{secret}"]
[sources.far]
provider = "spryng"
secrets = ["{secret}"]
allow_from = ["192.0.2.0/24"]
"""
OF_THIS_MACHINE = ("disk", "fsync", "clock")
SECRET = "abcdefghijklmnopqrst"


async def told(yard: Yard, *arguments: str, **env: str) -> tuple[int, dict[tuple[str, str], dict[str, Any]]]:
    status, out, _ = await yard.run("doctor", "--json", *arguments, **env)
    lines = [json.loads(line) for line in out.splitlines()]
    return status, {(line["check"], line["about"]): line for line in lines}


async def test_a_receiver_that_runs_is_well_and_is_left_as_it_was(yard: Yard, target: Target) -> None:
    (yard.folder / "receiver.toml").touch(mode=0o600)
    yard.configure(SOURCES.format(secret=SECRET), forward_to(target.url))
    serve = await yard.serve()
    listen = f"127.0.0.1:{URL(serve.url).port}"
    ready = await serve.says("ready")
    env = {
        "RECEIVER_SERVER__LISTEN": listen,
        "RECEIVER_SERVER__ADMIN_LISTEN": f"127.0.0.1:{URL(ready['admin']).port}",
        "RECEIVER_SERVER__PUBLIC_URL": f"http://{listen}",
    }
    before = sorted(path.name for path in yard.folder.iterdir() if path.suffix not in (".out", ".err"))
    status, found = await told(yard, **env)
    wrong = [line for line in found.values() if line["state"] == "problem"]
    assert [line for line in wrong if line["check"] not in OF_THIS_MACHINE] == []
    assert status == bool(wrong)
    assert "ready to store" in found["service", ""]["words"]
    assert "far (as from 192.0.2.1)" in found["callbacks", ""]["words"]
    assert found["public URL", "bulkvs"]["state"] == "ok"
    assert found["target", "crm"]["state"] == "ok"
    assert sorted(path.name for path in yard.folder.iterdir() if path.suffix not in (".out", ".err")) == before
    assert (await yard.events(), target.requests) == ([], [])
    assert not serve.said("callback_refused")
    assert SECRET not in serve.words

    yard.configure(SOURCES.format(secret=SECRET[::-1]))
    status, found = await told(yard, **env)
    assert status == 1
    assert "systemctl reload receiver" in found["callbacks", "bulkvs"]["cure"]
    assert found["public URL", "bulkvs"]["state"] == "problem"

    await serve.stop()
    status, found = await told(yard, **env)
    assert status == 1
    assert found["service", ""]["words"] == "it is not running"
    assert found["store", ""]["state"] == "ok"
