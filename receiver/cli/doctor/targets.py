"""Handlers: how each stands, and whether its target takes a connection by the handler's own rules. Nothing is sent."""

import asyncio
import ssl
from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from receiver import numbers
from receiver.cli import show
from receiver.cli.doctor.case import Case
from receiver.cli.doctor.dial import Line, Unreached, dial, words_of
from receiver.cli.doctor.finding import Finding, ok, problem, skipped
from receiver.store.views import HandlerStats

DNS, HANDLER, TARGET = "dns", "handler", "target"
# Installed there from handlers/, where no type checker looks.
email: Any = import_module("receiver.handlers.email")
forward: Any = import_module("receiver.handlers.forward")
EXPIRING = timedelta(days=14)


class Name(NamedTuple):
    """A host that has to be found."""

    host: str
    port: int


async def handlers(case: Case) -> list[Finding]:
    """The state of each, as the store keeps it."""
    seen = None if case.only else await case.seen()
    if seen is None:
        return []
    known = {one.handler: one for one in seen.stats.handlers if one.state != "absent"}
    return [_standing(name, known.get(name)) for name in case.settings.handlers]


def _standing(name: str, one: HandlerStats | None) -> Finding:
    if one is None:
        return skipped(HANDLER, "begins when the receiver starts with it", name)
    waiting = f"{show.count(one.pending, 'event')} waiting"
    facts = {"handler_state": one.state, "done": one.done, "pending": one.pending}
    reason = numbers.mask_in(one.standing.reason or one.standing.last_error)
    if one.state == "paused":
        return problem(HANDLER, f"paused: {reason}; {waiting}", f"receiver handlers resume {name}", name, **facts)
    if one.state == "held":
        cure = f"it goes on by itself when its target answers; try it: receiver handlers test {name}"
        return problem(HANDLER, f"down: {reason}; {waiting}, nothing is lost", cure, name, **facts)
    return ok(HANDLER, f"{show.grouped(one.done)} done, {waiting}", name, **facts)


async def names(case: Case) -> list[Finding]:
    """Whether every host that is needed can be resolved here."""
    wanted = sorted(set(_names(case)))
    found, resolved = [], []
    answers = await asyncio.gather(*(case.addresses(*name) for name in wanted), return_exceptions=True)
    for name, answer in zip(wanted, answers, strict=True):
        if isinstance(answer, OSError):
            cure = f"getent hosts {name.host}; cat /etc/resolv.conf"
            found.append(problem(DNS, f"{name.host} cannot be resolved: {words_of(answer)}", cure))
        elif isinstance(answer, BaseException):
            raise answer
        else:
            resolved.append(name.host)
    return found or ([ok(DNS, f"found: {', '.join(dict.fromkeys(resolved))}")] if resolved else [])


def _names(case: Case) -> Iterator[Name]:
    if case.only:
        return
    for settings in case.handlers.values():
        if isinstance(settings, forward.Forward.Settings):
            yield _of_url(settings.url)
        elif isinstance(settings, email.Email.Settings):
            yield Name(settings.smtp.host, settings.smtp.port or email.PORTS[settings.smtp.tls])


def _of_url(url: str) -> Name:
    parts = urlsplit(url)
    return Name(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))


async def targets(case: Case) -> list[Finding]:
    """A connection to the target of each `forward`, with TLS where the URL says so."""
    if case.only:
        return []
    chosen = {name: own for name, own in case.handlers.items() if isinstance(own, forward.Forward.Settings)}
    return list(await asyncio.gather(*(_target(case, name, own) for name, own in chosen.items())))


async def _target(case: Case, name: str, own: forward.Forward.Settings) -> Finding:
    host, port = _of_url(own.url)
    where = urlsplit(own.url).netloc
    tls = _trusting(own) if own.url.startswith("https:") else None
    try:
        infos = await case.addresses(host, port)
    except OSError:
        return skipped(TARGET, f"{where}: not tried, its name cannot be resolved", name)
    try:
        async with await dial(infos, host, tls=tls, make=forward.Guard(host, own.allow_private)) as line:
            return _reached(line, name, where)
    except Unreached as fault:
        if isinstance(fault.fault, forward.AddressRefused):
            cure = "[handlers.…] allow_private names the private addresses that are meant"
            return problem(TARGET, fault.fault.advice(where), cure.replace("…", name), name)
        cure = f"events wait and are sent when it is back; is it running, is the way open?  curl -v {own.url}"
        if fault.phase == "tls":
            cure = f"renew or complete its certificate; an authority of your own is named by ca; curl -v {own.url}"
        return problem(TARGET, f"{where}: {fault}", cure, name)


def _trusting(own: forward.Forward.Settings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if own.ca:
        context.load_verify_locations(own.ca)
    return context


def _reached(line: Line, name: str, where: str) -> Finding:
    valid_for = line.valid_for()
    if valid_for is None:
        return ok(TARGET, f"{where} takes connections; no event was sent", name)
    words = f"{where} takes connections · TLS valid {valid_for.days} days"
    if valid_for < EXPIRING:
        cure = "tell those who run it; when it ends, events wait until it is renewed"
        return problem(TARGET, words, cure, name, certificate_days=valid_for.days)
    return ok(TARGET, f"{words}; no event was sent", name, certificate_days=valid_for.days)
