"""The drill `systemd`: install as the docs say, then restart, kill, reload, upgrade and look, under a real systemd."""

import asyncio
import json
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drills.systemd import machine as machines
from drills.systemd.machine import Machine, booted, debian, must, wheels
from drills.verdict import CannotRun, Verdict
from drills.waiting import until

BOTH = "receiver receiver-dispatch"
ALL = f"receiver.socket receiver-admin.socket {BOTH}"
CONFIG = "/etc/receiver/config.toml"
BROKEN = r"printf '\n[handlers.broken]\nuse = \"none-of-ours\"\n' >> " + CONFIG
EXPOSURE = {"receiver.service": 1.2, "receiver-dispatch.service": 1.5}
LEVELS = {"debug": "7", "info": "6", "warning": "4", "error": "3", "critical": "2"}
AS_RECEIVER = "runuser -u receiver -- receiver"


@dataclass(frozen=True)
class Plan:
    """How much of it."""

    seed: int = 1
    requests: int = 1000
    restarts: int = 10
    system: str = ""
    """A folder that keeps the Debian for the next time; empty: a new one each time."""


@dataclass
class Site:
    """The machine with the receiver on it, and what was answered 200 there."""

    machine: Machine
    verdict: Verdict
    plan: Plan
    stored: int = 0
    calls: int = field(default=0)

    async def call(self, count: int = 4, at_once: int = 2, pause: float = 0.0) -> dict[str, Any]:
        """Send callbacks; their answers. All of them are new."""
        self.calls += 1
        name = f"c{self.calls}"
        done = await self.machine.sh(f"python3 /root/caller.py {name} {count} {at_once} {pause}")
        told: dict[str, Any] = json.loads(done.out)
        self.stored += told["answers"].get("200 stored", 0)
        return told

    @asynccontextmanager
    async def calling(self, count: int, at_once: int, pause: float, told: dict[str, Any]) -> AsyncIterator[None]:
        """Send them beside what the block does."""
        calling = asyncio.create_task(self.call(count, at_once, pause))
        await asyncio.sleep(0.5)
        yield
        told |= await calling

    async def all_stored(self, what: str, told: dict[str, Any]) -> None:
        """Each was answered 200 and none had been stored before."""
        wrong = {answer: count for answer, count in told["answers"].items() if answer != "200 stored"}
        self.verdict.must(not wrong, f"{what}: {wrong}")

    async def stats(self) -> list[dict[str, Any]]:
        """What the receiver counts."""
        lines = (await self.machine.sh(f"{AS_RECEIVER} stats --json")).out.splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


async def systemd(plan: Plan) -> Verdict:
    """The whole drill. Raises CannotRun."""
    machines.check()
    verdict = Verdict("systemd", plan.seed)
    folder = Path(tempfile.mkdtemp(prefix="drill-systemd-"))
    try:
        base = Path(plan.system) if plan.system else folder / "debian"
        await debian(base)
        root = folder / "root"
        await must("cp", "--archive", base, root)
        await wheels(root / "root/wheels")
        shutil.copy(Path(__file__).with_name("caller.py"), root / "root/caller.py")
        async with booted(root) as machine:
            site = Site(machine, verdict, plan)
            for step in STEPS:
                await step(site)
        async with booted(root) as machine:
            await _after_a_boot(Site(machine, verdict, plan, site.stored, site.calls))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return verdict


async def _install(site: Site) -> None:
    """As docs/how-to/run-under-systemd.md says, with the commands that `init` prints."""
    wheel = "/opt/receiver/bin/pip install --quiet --no-index --find-links /root/wheels sms-receiver"
    done = await site.machine.sh(
        f"python3 -m venv /opt/receiver && {wheel} && ln -s /opt/receiver/bin/receiver /usr/local/bin/receiver && "
        "receiver init --system --source spryng --public-url https://sms.example.com"
    )
    if done.status:
        raise CannotRun(f"it could not be installed: {done.out[-500:]}")
    printed = done.out.partition("Next, the units:")[2].partition("Then:")[0].split("\n")
    commands = [line.strip() for line in printed if line.strip()]
    site.verdict.must(len(commands) == 3, f"init printed {len(commands)} commands for the units")
    for command in commands:
        ran = await site.machine.sh(command)
        site.verdict.must(ran.status == 0, f"{command}: {ran.out[-300:]}")
    site.verdict.must(await site.machine.active(*ALL.split()), "not all four units run")
    await site.all_stored("the first callbacks", await site.call())


async def _judged(site: Site) -> None:
    """What systemd finds in the units."""
    verified = await site.machine.sh("systemd-analyze verify /etc/systemd/system/receiver*.s*")
    site.verdict.must(verified.status == 0 and not verified.out.strip(), f"verify: {verified.out[-300:]}")
    for name, most in EXPOSURE.items():
        told = (await site.machine.sh(f"systemd-analyze security --no-pager {name}")).out
        found = re.search(r"exposure level for \S+: (\d+\.\d)", told)
        exposure = float(found[1]) if found else 10.0
        site.verdict.figures[f"exposure of {name}"] = exposure
        site.verdict.must(exposure <= most, f"{name} is exposed {exposure}")


async def _restarts(site: Site) -> None:
    told: dict[str, Any] = {}
    async with site.calling(site.plan.requests, 20, 0.25, told):
        for _ in range(site.plan.restarts):
            done = await site.machine.sh("systemctl restart receiver")
            site.verdict.must(done.status == 0, f"restart: {done.out[-300:]}")
            await asyncio.sleep(0.2)
    await site.all_stored(f"{site.plan.restarts} restarts", told)
    site.verdict.figures |= {"requests during restarts": site.plan.requests, "slowest, s": told["slowest"]}


async def _kills(site: Site) -> None:
    told: dict[str, Any] = {}
    async with site.calling(400, 10, 0.05, told):
        for unit in BOTH.split():
            await site.machine.sh(f"kill -9 $(systemctl show {unit} -p MainPID --value)")
    site.verdict.figures["unanswered at a kill"] = len(told["unanswered"])
    site.verdict.must(len(told["unanswered"]) <= 10, f"a kill: {told['answers']}")
    await _back(site, "a kill")


async def _back(site: Site, after: str) -> None:
    """Both services are there again by themselves, and callbacks are taken."""
    try:
        await until(lambda: site.machine.active(*BOTH.split()), within=15)
    except AssertionError:
        site.verdict.must(False, f"not back after {after}")  # noqa: FBT003
    await site.all_stored(f"after {after}", await site.call())


async def _reloads(site: Site) -> None:
    pids = [await site.machine.show(unit, "MainPID") for unit in BOTH.split()]
    add = f'printf \'\\n[handlers.book]\\nuse = "log"\\nfile = "/var/log/receiver/book.jsonl"\\n\' >> {CONFIG}'
    done = await site.machine.sh(f"{add} && systemctl reload {BOTH} && cp {CONFIG} /root/good.toml")
    site.verdict.must(done.status == 0, f"reload: {done.out[-300:]}")
    await until(lambda: _says(site.machine, "receiver-dispatch", "book"))
    done = await site.machine.sh(f"{BROKEN} && systemctl reload receiver")
    site.verdict.must(done.status != 0, "a reload of a broken configuration did not fail")
    await site.all_stored("after a reload that was refused", await site.call())
    site.verdict.must(
        pids == [await site.machine.show(unit, "MainPID") for unit in BOTH.split()], "a reload is a new process"
    )


async def _says(machine: Machine, unit: str, word: str) -> bool:
    return word in await machine.show(unit, "StatusText")


async def _broken_start(site: Site) -> None:
    """The configuration is still broken: callbacks wait, and are taken soon after it is mended."""
    done = await site.machine.sh("systemctl restart receiver")
    site.verdict.must(done.status != 0, "a start with a broken configuration did not fail")
    told: dict[str, Any] = {}
    async with site.calling(2, 2, 0.0, told):
        await asyncio.sleep(3)
        await site.machine.sh(f"cp /root/good.toml {CONFIG}")
    await site.all_stored("waiting for a configuration to be mended", told)
    site.verdict.figures["mended after, s"] = told["slowest"]


async def _stuck(site: Site) -> None:
    """Processes that stand still are found by the watchdog."""
    await site.machine.sh("; ".join(f"kill -STOP $(systemctl show {u} -p MainPID --value)" for u in BOTH.split()))
    before = [await site.machine.show(unit, "NRestarts") for unit in BOTH.split()]

    async def restarted() -> bool:
        return all([await site.machine.show(u, "NRestarts") > b for u, b in zip(BOTH.split(), before, strict=True)])

    await until(restarted, within=60)
    await _back(site, "the watchdog")


async def _upgrade(site: Site) -> None:
    told: dict[str, Any] = {}
    again = "/opt/receiver/bin/pip install --quiet --no-index --no-deps --force-reinstall /root/wheels/sms_receiver-*"
    async with site.calling(300, 10, 0.2, told):
        done = await site.machine.sh(f"{again} && systemctl restart {BOTH}")
        site.verdict.must(done.status == 0, f"upgrade: {done.out[-300:]}")
    await site.all_stored("an upgrade", told)


async def _journal(site: Site) -> None:
    """Priorities are those of the lines, and nothing of the canaries is in it."""
    secret = (await site.machine.sh("cat /etc/receiver/secrets/spryng")).out.strip()
    out = (await site.machine.sh("journalctl -o json -u receiver -u receiver-dispatch --no-pager")).out
    lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    said = [(line["PRIORITY"], json.loads(line["MESSAGE"])) for line in lines if _is_ours(line)]
    wrong = [facts["event"] for priority, facts in said if LEVELS[facts["level"]] != priority]
    site.verdict.figures["lines in the journal"] = len(lines)
    site.verdict.must(said and not wrong, f"{len(said)} lines, with another priority than theirs: {wrong[:5]}")
    site.verdict.must(not any(canary in out for canary in (secret, "31687654321", "canarytext")), "a canary is in it")


def _is_ours(line: dict[str, Any]) -> bool:
    return isinstance(line["MESSAGE"], str) and line["MESSAGE"].startswith('{"timestamp"')


async def _stop(site: Site) -> None:
    began = asyncio.get_running_loop().time()
    await site.machine.sh("systemctl stop 'receiver*'")
    site.verdict.figures["stop, s"] = round(asyncio.get_running_loop().time() - began, 2)
    left = (await site.machine.sh("pgrep -u receiver; systemctl is-active receiver.socket")).out
    site.verdict.must(left.split() == ["inactive"], f"left after a stop: {left}")
    done = await site.machine.sh(f"systemctl start {BOTH}")
    site.verdict.must(done.status == 0, f"start: {done.out[-300:]}")
    await _counted(site)


async def _after_a_boot(site: Site) -> None:
    """All of it starts by itself."""
    await until(lambda: site.machine.active(*BOTH.split()), within=60)
    await site.all_stored("after a boot", await site.call())
    await _counted(site)


async def _counted(site: Site) -> None:
    """Nothing is lost, nothing is there twice, and the first handler has had all."""

    async def settled() -> bool:
        return all(not one["pending"] and not one["running"] for one in await site.stats() if "handler" in one)

    await until(settled, within=30)
    stats = await site.stats()
    source = next(one for one in stats if one.get("source") == "spryng")
    audit = next(one for one in stats if one.get("handler") == "audit")
    site.verdict.figures["stored"] = source["stored"]
    unsure = site.verdict.figures.get("unanswered at a kill", 0)
    site.verdict.must(
        site.stored <= source["stored"] <= site.stored + unsure, f"{site.stored} were acknowledged: {source}"
    )
    site.verdict.must(audit["done"] == source["stored"], f"not all of {source['stored']} are done: {audit}")


STEPS: list[Callable[[Site], Awaitable[None]]] = [
    *(_install, _judged, _restarts, _kills, _reloads, _broken_start, _stuck, _upgrade, _journal, _stop)
]
