"""The receiver of the demo: a real `receiver serve` in a folder of its own, and what is seen of its store."""

import asyncio
import base64
import json
import os
import secrets
import signal
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from receiver.cli.draft import fresh_secret
from receiver.cli.opening import Refused
from receiver.cli.simulate.target import Target
from receiver.serving import python
from receiver.store.sqlite import SqliteStore
from receiver.store.views import HandlerStats, Selector

PROVIDERS = ("spryng", "bulkvs")
CONFIGURATION = """\
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
[store]
reserve = 0
[sources.spryng]
provider = "spryng"
secrets = ["{spryng}"]
[sources.bulkvs]
provider = "bulkvs"
secrets = ["{bulkvs}"]
[handlers.log]
use = "log"
file = "events.jsonl"
[handlers.shop]
use = "forward"
url = "http://127.0.0.1:{shop}/sms"
secret = "whsec_{signing}"
[handlers.mail]
use = "email"
smtp = {{ host = "127.0.0.1", port = {mail}, tls = "none" }}
from = "receiver@demo.example"
to = ["you@demo.example"]
batch_wait = "3s"
"""
START = 30.0
"""Seconds in which it has to be ready."""
STOP = 15.0
FOREIGN = ("RECEIVER_", "LISTEN_", "NOTIFY_", "WATCHDOG_")
"""How variables begin that are about another receiver."""


class Receiver:
    """A receiver that runs until `stop`."""

    def __init__(self, folder: Path, *, shop: int, mail: int) -> None:
        """Hands events to a web server and a mail server on these ports."""
        self._folder = folder
        self._secrets = {name: fresh_secret() for name in PROVIDERS}
        signing = base64.b64encode(secrets.token_bytes(32)).decode()
        self._file = folder / "receiver.toml"
        self._file.touch(0o600)
        self._file.write_text(CONFIGURATION.format(shop=shop, mail=mail, signing=signing, **self._secrets))
        self._process: asyncio.subprocess.Process | None = None
        self._store: SqliteStore | None = None
        self._base = ""

    async def start(self) -> None:
        """Return when it is ready. Raises Refused, with its last words, where it is not."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        with (self._folder / "serve.out").open("wb") as out, (self._folder / "serve.err").open("wb") as err:
            self._process = await asyncio.create_subprocess_exec(
                *python("serve", "--config", str(self._file), "--log-format", "json"),
                cwd=self._folder,
                env=env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,  # Ctrl-C is for us; we stop it when we are through
            )
        with suppress(TimeoutError):
            async with asyncio.timeout(START):
                while not self._base and self._process.returncode is None:
                    await asyncio.sleep(0.05)
                    self._base = next((line["callbacks"] for line in self._said() if line.get("event") == "ready"), "")
        if not self._base:
            last = (self._folder / "serve.err").read_text().strip().splitlines()[-1:]
            raise Refused(f"`receiver serve` did not start: {last[0] if last else 'it says nothing'}")
        self._store = await SqliteStore.open(self._folder / "receiver.db", role="command")

    def _said(self) -> list[dict[str, Any]]:
        lines = (self._folder / "serve.err").read_text().split("\n")[:-1]
        return [json.loads(line) for line in lines if line.startswith("{")]

    async def stop(self) -> None:
        """End it and all its processes."""
        if self._store:
            await self._store.close()
        if not self._process:
            return
        with suppress(ProcessLookupError):
            self._process.terminate()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), STOP)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    @property
    def has_ended(self) -> bool:
        """Whether it ended by itself, which it should not."""
        return self._process is not None and self._process.returncode is not None

    def target(self, provider: str) -> Target:
        """Where a provider sends."""
        return Target(self._base, provider, self._secrets[provider])

    async def handlers(self) -> list[HandlerStats]:
        """How they stand."""
        assert self._store
        return list((await self._store.stats(datetime.now(UTC))).handlers)

    async def stored(self) -> set[str]:
        """The ids of all events."""
        assert self._store
        return {one.event.id async for one in self._store.events(Selector())}

    def logged(self) -> set[str]:
        """The ids of the events that the handler `log` wrote."""
        file = self._folder / "events.jsonl"
        return {json.loads(line)["id"] for line in file.read_text().split("\n")[:-1]} if file.exists() else set()
