"""The service: whether it runs, is ready, and takes callbacks on this machine as the configuration says."""

import json
import os
import time
from contextlib import suppress
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

from receiver import units
from receiver.cli.doctor.case import Case
from receiver.cli.doctor.dial import Answer, Line, Unreached, dial, dial_path, words_of
from receiver.cli.doctor.finding import Finding, ok, problem, skipped
from receiver.config import Listen, Source
from receiver.plugins import provider_class

SERVICE, CALLBACKS = "service", "callbacks"
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - a listener on all addresses is reached on loopback
LOOPBACK = ip_address("127.0.0.1")
IGNORED = "ignored"
"""Our answer to a request without parameters whose secret is right."""


async def processes(case: Case) -> list[Finding]:
    """The processes, by the locks they hold, and what /healthz and /readyz say."""
    receives, dispatches = case.holders()
    if receives is None:
        cure = "systemctl start receiver receiver-dispatch      or, without systemd: receiver serve"
        return [problem(SERVICE, "it is not running", cure, running=False)]
    words = [f"running {_age(receives)}(pid {receives})"]
    found = []
    if dispatches is None and case.settings.handlers:
        cure = "systemctl start receiver-dispatch      or, without systemd: receiver dispatch"
        found.append(problem(SERVICE, "callbacks are taken, but no handler runs: events wait", cure))
    elif dispatches:
        words.append(f"handlers in pid {dispatches}")
    reasons = await _reasons(case)
    if reasons:
        found.append(problem(SERVICE, "; ".join(reasons), "journalctl -u receiver -n 50      says more"))
    else:
        words.append("ready to store" if reasons is not None else "health is off: admin_listen")
    return found or [ok(SERVICE, " · ".join(words), running=True)]


async def _reasons(case: Case) -> list[str] | None:
    """What stands in the way of storing; None where there is no admin listener to ask."""
    server = case.settings.server
    if not server.admin_listen:
        return None
    token = {"authorization": f"Bearer {server.admin_token}"} if server.admin_token else {}
    try:
        alive = await ask(server.admin_listen, "/healthz", token)
        if alive.status == 401:
            return ["the admin listener wants another token than server.admin_token: restart the receiver"]
        if alive.body.strip() != "ok":
            return [f"what answers at {server.admin_listen} is not the receiver ({alive.status})"]
        ready = await ask(server.admin_listen, "/readyz", token)
    except Unreached as fault:
        return [f"its admin listener {server.admin_listen} cannot be reached: {fault}"]
    except (OSError, ValueError) as fault:
        return [f"its admin listener {server.admin_listen} does not answer: {words_of(fault)}"]
    if ready.status == 200:
        return []
    with suppress(ValueError):
        return [f"not ready: {reason}" for reason in json.loads(ready.body)["reasons"]]
    return [f"not ready: /readyz answers {ready.status}"]


async def callbacks(case: Case) -> list[Finding]:
    """An empty request with the real secret to each source, past any proxy. Nothing is stored.

    To a source with `allow_from` it comes as a proxy on this machine would pass it on for somebody in there.
    """
    listen = case.settings.server.listen
    if case.holders()[0] is None:
        return [skipped(CALLBACKS, "not tried: the receiver is not running")]
    if not case.secrets:
        return [skipped(CALLBACKS, "not tried: its secrets are credentials that only the unit can read")]
    found, taken = [], []
    for source in case.sources:
        address = _allowed(source)
        if address and not (
            listen.path or any(LOOPBACK in network for network in case.settings.server.trusted_proxies)
        ):
            found.append(skipped(CALLBACKS, "not tried: it has allow_from, and we are none of them", source.name))
            continue
        try:
            answer = await ask(listen, path_of(source), {"x-forwarded-for": address} if address else {})
        except (Unreached, OSError, ValueError) as fault:
            cure = f"server.listen says {listen}; sockets of systemd win: systemctl cat receiver.socket; ss -ltnp"
            return [problem(CALLBACKS, f"nobody takes them at {listen}: {words_of(fault)}", cure)]
        case.answers[source.name] = answer.headers.get("receiver-outcome") == IGNORED
        if case.answers[source.name]:
            taken.append(f"{source.name} (as from {address})" if address else source.name)
        else:
            found.append(_not_taken(answer, source, listen))
    return [*found, *([ok(CALLBACKS, f"{listen} takes those of {', '.join(taken)}")] if taken else [])]


def _allowed(source: Source) -> str:
    """An address that `allow_from` lets in; empty where there is no such list."""
    for network in source.allow_from:
        return str(network[1] if network.num_addresses > 2 else network[0])
    return ""


def _not_taken(answer: Answer, source: Source, listen: Listen) -> Finding:
    if answer.status == 404:
        words = f"the running receiver does not know this secret or source, or refuses the address ({listen})"
        cure = "the configuration changed since it started: systemctl reload receiver      (or restart it)"
        return problem(CALLBACKS, words, cure, source.name)
    cure = "journalctl -u receiver -n 50      says why"
    return problem(CALLBACKS, f"answered {answer.status} at {listen}: {answer.body.strip()[:80]}", cure, source.name)


def path_of(source: Source) -> str:
    """The path of a source's first callback URL, with its secret."""
    endpoint = provider_class(source.provider).endpoints[0].name
    ending = f"/{source.secrets[0]}" if source.secrets else ""
    return f"/in/{source.name}/{endpoint}{ending}"


async def ask(listen: Listen, path: str, headers: dict[str, str] | None = None) -> Answer:
    """A GET to one of our listeners. Raises Unreached, OSError, ValueError."""
    async with await _line(listen) as line:
        return await line.get("localhost" if listen.path else str(listen), path, headers)


async def _line(listen: Listen) -> Line:
    import socket

    if listen.path:
        return await dial_path(listen.path)
    host = EVERYWHERE.get(listen.host, listen.host)
    return await dial(socket.getaddrinfo(host, listen.port, type=socket.SOCK_STREAM), host)


def _age(pid: int) -> str:
    """Since when a process runs, as far as the kernel says."""
    with suppress(OSError, ValueError, IndexError):
        started = float(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return f"{units.words(timedelta(seconds=time.clock_gettime(time.CLOCK_BOOTTIME) - started))} "
    return ""
