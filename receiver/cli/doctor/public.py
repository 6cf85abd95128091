"""The public URL: an empty request with the real secret, on the way a provider's takes. Nothing is stored.

First goes one without the secret: a proxy that does not pass it on would write the secret into its log.
"""

import ssl
from datetime import timedelta
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from receiver import units
from receiver.cli.doctor.case import Case
from receiver.cli.doctor.dial import Answer, Unreached, dial, words_of
from receiver.cli.doctor.finding import Finding, ok, problem, skipped
from receiver.cli.doctor.running import IGNORED, path_of
from receiver.config import Settings, Source

CHECK = "public URL"
EXPIRING = timedelta(days=14)
NOT_FOUND = "Not found.\n"
"""Our 404, the same for all that is refused."""
NOT_STORED = "Not stored; send it again."
REDIRECTS = (301, 302, 303, 307, 308)
PORTS = {"http": 80, "https": 443}


async def public(case: Case) -> list[Finding]:
    """What each source's provider would meet."""
    server = case.settings.server
    if not case.sources:
        return []
    if not server.public_url:
        return [skipped(CHECK, "server.public_url is not set: nobody but this machine is known to reach us")]
    if not case.secrets:
        return [skipped(CHECK, "not tried: its secrets are credentials that only the unit can read")]
    # A source with allow_from refuses us, and counts it: one is asked only where no other can show the way.
    asked = [source for source in case.sources if not source.allow_from] or case.sources[:1]
    return [await _probe(case, source, urlsplit(server.public_url)) for source in asked]


async def _probe(case: Case, source: Source, url: SplitResult) -> Finding:
    host, port = url.hostname or "", url.port or PORTS[url.scheme]
    shown = f"{url.geturl()}/in/{source.name}/…"
    tls = ssl.create_default_context() if url.scheme == "https" else None
    try:
        infos = await case.addresses(host, port)
    except OSError as fault:
        cure = f"its DNS record is missing or wrong: getent hosts {host}"
        return problem(CHECK, f"{shown}: {host} cannot be resolved: {words_of(fault)}", cure, source.name)
    try:
        async with await dial(infos, host, tls=tls) as line:
            valid_for = line.valid_for()
            answer = await line.get(url.netloc, f"{url.path}/in/{source.name}/")
        if _is_our_refusal(answer):
            async with await dial(infos, host, tls=tls) as line:
                answer = await line.get(url.netloc, f"{url.path}{path_of(source)}")
    except Unreached as fault:
        return problem(CHECK, f"{shown}: {fault}", unreached(fault, host), source.name)
    except (OSError, ValueError) as fault:
        cure = "something accepts connections there and does not answer: look at the proxy's error log"
        return problem(CHECK, f"{shown}: {words_of(fault)}", cure, source.name)
    found = verdict(answer, case.settings, source, shown=shown, known_here=case.answers.get(source.name))
    return _with_certificate(found, valid_for, encrypted=tls is not None, host=host)


def unreached(fault: Unreached, host: str) -> str:
    """What helps where not even a connection was made."""
    if fault.phase == "tls":
        return f"providers refuse it too: renew or complete the certificate (certbot renew); curl -v https://{host}/"
    return (
        "does the proxy run and listen there, and does the firewall let it in?  ss -ltn; systemctl status nginx\n"
        "some networks do not let a machine reach its own public address: try the URL from elsewhere as well"
    )


def verdict(answer: Answer, settings: Settings, source: Source, *, shown: str, known_here: bool | None) -> Finding:
    """What an answer means. `known_here`: whether the same request was taken on this machine, where that was tried."""
    by = _by(answer)
    listen = settings.server.listen
    if answer.headers.get("receiver-outcome") == IGNORED or answer.body.startswith("OK. This is the "):
        took = units.words(answer.took)
        return ok(CHECK, f"{shown} reaches us in {took}; nothing was stored", source.name, took_ms=_ms(answer))
    if _is_our_refusal(answer):
        return _refused(settings, source, shown, known_here=known_here)
    if answer.status == 404:
        cure = (
            "the request never arrived. Is `location /in/` inside the server block that listens on 443?"
            "   nginx -T | grep -n 'location /in'"
        )
        return problem(CHECK, f"{shown} answers 404{by}, not from us", cure, source.name)
    if answer.status in REDIRECTS:
        to = _place(answer.headers.get("location", ""))
        cure = "providers do not follow: write the URL it leads to as server.public_url, or end the redirect"
        return problem(CHECK, f"{shown} is redirected ({answer.status}) to {to}", cure, source.name)
    if answer.status in (502, 504) or (answer.status == 503 and NOT_STORED not in answer.body):
        cure = (
            f"the proxy is there and does not reach us: it should pass to {listen}; is the receiver running?\n"
            "tail /var/log/nginx/error.log; where SELinux is on: setsebool -P httpd_can_network_connect 1"
        )
        return problem(CHECK, f"{shown} answers {answer.status}{by}", cure, source.name)
    if answer.status == 503:
        return problem(CHECK, f"{shown} reaches us, and we cannot store now", "see disk and service", source.name)
    cures = {
        401: "the proxy wants a password: providers have none; take `auth_basic` off for location /in/",
        403: "the proxy forbids it: look for `deny` and for a firewall of web requests on the way",
        429: "the proxy limits requests: providers call often; raise its limit for location /in/",
    }
    cure = cures.get(answer.status, "the request was answered on the way to us: look at the proxy's configuration")
    return problem(CHECK, f"{shown} answers {answer.status}{by}, not from us", cure, source.name)


def _refused(settings: Settings, source: Source, shown: str, *, known_here: bool | None) -> Finding:
    """It reached a receiver, which gave the 404 that says nothing: why, as far as can be told from here."""
    if source.allow_from:
        return skipped(CHECK, f"{shown} reaches us, and is refused from here: it has allow_from", source.name)
    if not source.secrets:
        cure = 'give it a secret: secrets = […] instead of auth = "none"; receiver init makes good ones'
        return problem(
            CHECK, f"{shown} reaches us, and takes nothing through a proxy without a secret", cure, source.name
        )
    if known_here:
        cure = f"the proxy changes the path, or passes it to another receiver than {settings.server.listen}"
        return problem(CHECK, f"{shown} reaches a receiver that refuses what we take here", cure, source.name)
    cure = "the running receiver has another secret or source than the configuration: systemctl reload receiver"
    return problem(CHECK, f"{shown} reaches a receiver that does not know this secret", cure, source.name)


def _with_certificate(found: Finding, valid_for: timedelta | None, *, encrypted: bool, host: str) -> Finding:
    """The same, with what is to be said of the certificate; a fault of it comes after that of the way."""
    if found.state != "ok":
        return found
    if not encrypted:
        if _is_here(host):
            return found
        cure = "the secret and all messages can be read on the way: https, and a redirect is no help"
        return problem(CHECK, f"{found.words}, but unencrypted", cure, found.about, **found.facts)
    if valid_for is None:
        return found
    facts = {**found.facts, "certificate_days": valid_for.days}
    words = f"{found.words} · TLS valid {valid_for.days} days"
    if valid_for < EXPIRING:
        cure = "renew it now, and see why that did not happen by itself: certbot renew; systemctl list-timers"
        return problem(CHECK, words, cure, found.about, **facts)
    return found._replace(words=words, facts=facts)


def _is_our_refusal(answer: Answer) -> bool:
    return answer.status == 404 and NOT_FOUND in answer.body


def _by(answer: Answer) -> str:
    server = answer.headers.get("server", "").split("/")[0].split(" ")[0]
    return f" from {server}" if server.isprintable() and server else ""


def _place(location: str) -> str:
    """Where a redirect leads, without its path: that may hold the secret."""
    parts = urlsplit(location)
    return f"{parts.scheme}://{parts.netloc}/…" if parts.netloc else "another path"


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _ms(answer: Answer) -> float:
    return round(answer.took / timedelta(milliseconds=1), 1)
