"""The public URL: each way in which it can be wrong is told from the others, and no secret is said."""

import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from doctor_kit import OURS, SECRET, answering, case

from receiver.cli.doctor.finding import Finding
from receiver.cli.doctor.public import public

pytestmark = pytest.mark.anyio

OPEN = '[sources.open]\nprovider = "bulkvs"\nauth = "none"\n'
FAR = '[sources.far]\nprovider = "bulkvs"\nsecrets = ["zyxwvutsrqponmlk"]\nallow_from = ["192.0.2.0/24"]\n'


def answer(line: str, body: str = "", **headers: str) -> bytes:
    fields = "".join(f"{name}: {value}\r\n" for name, value in {**headers, "content-length": str(len(body))}.items())
    return f"HTTP/1.1 {line}\r\n{fields}\r\n{body}".encode()


NOT_FOUND = answer("404 Not Found", "Not found.\n")
BY_US = {
    "well": (OURS, "ok", "reaches us", ""),
    "404": (NOT_FOUND, "problem", "does not know this secret", "systemctl reload receiver"),
    "503": (answer("503 Busy", "Not stored; send it again.\n"), "problem", "we cannot store now", "disk"),
}
BY_OTHERS = {
    "nginx's 404": (answer("404 Not Found", "<html>", server="nginx/1.22"), "404 from nginx, not from us", "nginx -T"),
    "redirect": (
        answer("301 Moved", location=f"https://other.example/in/spryng/dlr/{SECRET}"),
        "redirected (301) to https://other.example/…",
        "providers do not follow",
    ),
    "502": (answer("502 Bad Gateway", server="nginx"), "answers 502 from nginx", "should pass to 127.0.0.1:8080"),
    "504": (answer("504 Gateway Timeout"), "answers 504", "is the receiver running"),
    "503": (answer("503 Busy"), "answers 503", "is the receiver running"),
    "401": (answer("401 Who"), "answers 401", "auth_basic"),
    "403": (answer("403 No"), "answers 403", "firewall"),
    "429": (answer("429 Slowly"), "answers 429", "raise its limit"),
    "a page": (answer("200 OK", "<html>Welcome"), "answers 200, not from us", "proxy's configuration"),
    "no HTTP": (b"220 mail.example.com ESMTP\r\n\r\n", "the answer is no http", "error log"),
    "nothing": (b"", "connection ended", "error log"),
}


async def probed(folder: Path, url: str, *tables: str) -> list[Finding]:
    return await public(case(folder, f'[server]\npublic_url = "{url}"\n', *tables))


@pytest.mark.parametrize("name", BY_US)
async def test_what_we_answer_ourselves_is_known_for_ours(tmp_path: Path, name: str) -> None:
    given, state, words, cure = BY_US[name]
    async with answering(given, way=NOT_FOUND) as server:
        (found,) = await probed(tmp_path, f"http://127.0.0.1:{server.port}/sub")
    assert (found.state, found.about) == (state, "spryng")
    assert words in found.words
    assert cure in found.cure
    assert SECRET not in found.words + found.cure
    assert server.heads[1].startswith(f"GET /sub/in/spryng/dlr/{SECRET} HTTP/1.1\r\n")


@pytest.mark.parametrize("name", BY_OTHERS)
async def test_what_others_answer_says_where_it_went_and_they_never_see_the_secret(tmp_path: Path, name: str) -> None:
    given, words, cure = BY_OTHERS[name]
    async with answering(given) as server:
        (found,) = await probed(tmp_path, f"http://127.0.0.1:{server.port}/sub")
    assert (found.state, found.about) == ("problem", "spryng")
    assert words in found.words
    assert cure in found.cure
    assert SECRET not in found.words + found.cure + "".join(server.heads)
    assert server.heads[0].startswith("GET /sub/in/spryng/ HTTP/1.1\r\n")


async def test_a_refusal_by_us_of_what_is_taken_here_is_the_proxys_doing(tmp_path: Path) -> None:
    async with answering(NOT_FOUND) as server:
        asked = case(tmp_path, f'[server]\npublic_url = "http://127.0.0.1:{server.port}"\n')
        asked.answers["spryng"] = True
        (found,) = await public(asked)
    assert "the proxy changes the path, or passes it to another receiver" in found.cure


async def test_a_source_without_a_secret_takes_nothing_through_a_proxy(tmp_path: Path) -> None:
    async with answering(NOT_FOUND) as server:
        found = await probed(tmp_path, f"http://127.0.0.1:{server.port}", OPEN)
    assert "give it a secret" in found[1].cure


async def test_who_would_refuse_us_for_our_address_is_asked_only_where_no_other_is(tmp_path: Path) -> None:
    async with answering(NOT_FOUND) as server:
        url = f"http://127.0.0.1:{server.port}"
        assert [one.about for one in await probed(tmp_path, url, FAR)] == ["spryng"]
        (far,) = await public(case(tmp_path, f'[server]\npublic_url = "{url}"\n', FAR, only="far"))
    assert far.state == "skipped"
    assert "is refused from here" in far.words


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


async def test_nobody_listening_is_told(tmp_path: Path) -> None:
    (found,) = await probed(tmp_path, f"https://127.0.0.1:{closed_port()}")
    assert found.words.endswith("/in/spryng/…: connection refused")
    assert "firewall" in found.cure


async def test_a_name_that_leads_nowhere_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", unknown)
    (found,) = await probed(tmp_path, "https://sms.example.com")
    assert "sms.example.com cannot be resolved: name or service not known" in found.words
    assert "DNS" in found.cure


def tls(authority: trustme.CA, name: str, days: int) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ends = datetime.now(UTC) + timedelta(days=days, hours=1)
    authority.issue_cert(name, not_before=ends - timedelta(days=400), not_after=ends).configure_cert(context)
    return context


@pytest.mark.parametrize(
    ("name", "days", "state", "words"),
    [
        ("127.0.0.1", 71, "ok", "TLS valid 71 days"),
        ("127.0.0.1", 13, "problem", "TLS valid 13 days"),
        ("127.0.0.1", -2, "problem", "certificate has expired"),
        ("other.example.com", 71, "problem", "the certificate is not valid"),
    ],
)
async def test_the_certificate_is_judged(
    tmp_path: Path, authority: trustme.CA, name: str, days: int, state: str, words: str
) -> None:
    async with answering(OURS, way=NOT_FOUND, ssl=tls(authority, name, days)) as server:
        (found,) = await probed(tmp_path, f"https://127.0.0.1:{server.port}")
    assert (found.state, words in found.words) == (state, True), found
    assert bool(found.cure) == (state == "problem")


async def test_a_certificate_of_nobody_we_know_is_told(tmp_path: Path) -> None:
    async with answering(OURS, ssl=tls(trustme.CA(), "127.0.0.1", 71)) as server:
        (found,) = await probed(tmp_path, f"https://127.0.0.1:{server.port}")
    assert "the certificate is not valid: " in found.words


async def test_a_way_through_the_internet_without_tls_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with answering(OURS, way=NOT_FOUND) as server:
        here = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))]
        monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: here)
        (found,) = await probed(tmp_path, f"http://sms.example.com:{server.port}")
    assert (found.state, "but unencrypted" in found.words) == ("problem", True)


async def test_without_a_public_url_or_without_its_secrets_nothing_is_tried(tmp_path: Path) -> None:
    (unset,) = await public(case(tmp_path))
    (unread,) = await public(case(tmp_path, '[server]\npublic_url = "https://127.0.0.1:1"\n', secrets=False))
    assert (unset.state, unread.state) == ("skipped", "skipped")
