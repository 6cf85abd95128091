"""What the tests of deploy/ share: a receiver whose sockets are handed over, real proxies before it, and requests."""

import asyncio
import os
import shutil
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from drills.waiting import until
from drills.yard import PATIENCE, Command, Yard

ROOT = Path(__file__).parents[1]
NAME = "sms.example.com"
SECRET = "canary-secret-0123456789"  # a secret, a number and a text that no log may hold
NUMBER = "31687654321"
TEXT = "canarytext"
SOURCE = f'[sources.spryng]\nprovider = "spryng"\nsecrets = ["{SECRET}"]\n'
# As systemd does it (sd_listen_fds(3)): the sockets are 3 and 4, and the process that is meant is named.
ACTIVATE = """
import fcntl, os, sys
passed, command = int(sys.argv[1]), sys.argv[2 + int(sys.argv[1]):]
high = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 100) for number in sys.argv[2:2 + passed]]
for place, number in enumerate(high, 3):
    os.dup2(number, place)
    os.close(number)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(passed), "LISTEN_FDNAMES": "callbacks:admin"}
os.execv(sys.executable, [sys.executable, *command])
"""


def address(listener: socket.socket) -> str:
    """host:port."""
    host, port = listener.getsockname()[:2]
    return f"{host}:{port}"


def free_port() -> int:
    """A port that nobody has just now."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return int(listener.getsockname()[1])


@dataclass
class Activated:
    """Listening sockets as systemd holds them, and the receiver that is given them, again and again."""

    yard: Yard
    listeners: Sequence[socket.socket]
    command: Command | None = None

    @classmethod
    @contextmanager
    def held(cls, yard: Yard) -> Iterator["Activated"]:
        """Listen, and start nothing yet."""
        with (
            closing(socket.create_server(("127.0.0.1", 0), backlog=2048)) as callbacks,
            closing(socket.create_server(("127.0.0.1", 0))) as admin,
        ):
            yield cls(yard, (callbacks, admin))

    @property
    def callbacks(self) -> str:
        return address(self.listeners[0])

    async def start(self, *options: str, **env: str) -> Command:
        """Start `receiver serve` without handlers, and wait for nothing."""
        stem = self.yard.folder / f"activated-{len(self.yard.started)}"
        numbers = [listener.fileno() for listener in self.listeners]
        words = ["-c", ACTIVATE, str(len(numbers)), *map(str, numbers), "-m", "receiver", "serve", "--no-dispatch"]
        command = Command(process=None, stdout=stem.with_suffix(".out"), stderr=stem.with_suffix(".err"))  # type: ignore[arg-type]
        with command.stdout.open("wb") as stdout, command.stderr.open("wb") as stderr:
            command.process = await asyncio.create_subprocess_exec(
                sys.executable,
                *words,
                *options,
                cwd=self.yard.folder,
                env=self.yard.env(**env),
                pass_fds=numbers,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )
        self.yard.started.append(command)
        self.command = command
        return command

    async def ready(self) -> Command:
        """Start it, and wait until it answers."""
        command = await self.start()
        await command.says("ready")
        return command

    async def restart(self) -> None:
        """As `systemctl restart` does: the sockets stay open all the time."""
        assert self.command
        await self.command.stop()
        await self.start()


@dataclass
class Proxy:
    """A real proxy, with its configuration from deploy/ and a certificate of our own."""

    name: str
    port: int
    folder: Path
    command: list[str]
    trust: ssl.SSLContext
    process: asyncio.subprocess.Process | None = None
    words: list[Path] = field(default_factory=list)

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        out = self.folder / "proxy.err"
        with out.open("ab") as stderr:
            self.process = await asyncio.create_subprocess_exec(
                *self.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.folder)},
            )

        async def listens() -> bool:
            assert self.process
            assert self.process.returncode is None, out.read_text()
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return True
            return False

        await until(listens, within=PATIENCE)

    async def stop(self) -> None:
        """Stop it, as its unit would."""
        if self.process and self.process.returncode is None:
            self.process.terminate()
            await self.process.wait()

    def logged(self) -> str:
        """All that it has written into any log."""
        return "".join(path.read_text(errors="replace") for path in sorted(self.folder.rglob("*")) if _is_log(path))

    async def open(
        self, *, source: str = "127.0.0.1", encrypted: bool = True
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection, from an address of this machine."""
        keys = {"ssl": self.trust, "server_hostname": NAME} if encrypted else {}
        return await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0), **keys)  # type: ignore[arg-type]

    async def ask(self, raw: bytes, *, source: str = "127.0.0.1", encrypted: bool = True) -> "Answer":
        """One request on a connection of its own."""
        reader, writer = await self.open(source=source, encrypted=encrypted)
        return await exchange(reader, writer, raw)


def _is_log(path: Path) -> bool:
    return path.is_file() and path.suffix in (".log", ".err")


@dataclass(frozen=True)
class Answer:
    """What came back; status 0 where nothing did."""

    status: int
    head: str
    body: bytes

    @property
    def outcome(self) -> str:
        """What became of the callback."""
        return self.header("receiver-outcome")

    def header(self, name: str) -> str:
        """A header's values."""
        lines = (line.partition(": ") for line in self.head.split("\r\n")[1:])
        return ", ".join(value for key, _, value in lines if key.lower() == name)


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, raw: bytes) -> Answer:
    """Send this, and read all there is until the other side closes."""
    came = b""
    try:
        writer.write(raw)
        await writer.drain()
        while part := await reader.read(65536):
            came += part
    except (ConnectionError, ssl.SSLError):
        pass
    finally:
        writer.close()
    head, _, body = came.partition(b"\r\n\r\n")
    words = head.decode("latin-1")
    return Answer(int(words.split()[1]) if words.startswith("HTTP/") else 0, words, body)


def get(path: str, *headers: str) -> bytes:
    """A request without a body, whose connection ends with it."""
    return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {NAME}", "Connection: close", *headers, "", ""]).encode()


def post(path: str, body: bytes, *headers: str) -> bytes:
    """A form, whose connection ends with it."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {NAME}", "Connection: close", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *headers, "Content-Type: application/x-www-form-urlencoded", "", ""]).encode() + body


def report(message: str, *headers: str, secret: str = SECRET) -> bytes:
    """A delivery report of Spryng's."""
    query = f"ID={message}&RECIPIENT={NUMBER}&STATUS=10&OPERATOR_STATUS_AT=20260302104158"
    return get(f"/in/spryng/dlr/{secret}?{query}", *headers)


def message(number: int, *headers: str) -> bytes:
    """An inbound message of Spryng's."""
    body = f"MSISDN={NUMBER}&SHORTCODE=3010&PARM={TEXT}-{number}&TIMESTAMP=20260302104158".encode()
    return post(f"/in/spryng/mo/{SECRET}", body, *headers)


# the proxies


def replaced(words: str, changes: dict[str, str]) -> str:
    """A configuration with what is of this test in place of what is of a server; all of it has to be there."""
    for ours, theirs in changes.items():
        assert ours in words, f"{ours!r} is not in the configuration"
        words = words.replace(ours, theirs)
    return words


@asynccontextmanager
async def proxy(kind: str, upstream: str, folder: Path, changes: dict[str, str] | None = None) -> AsyncIterator[Proxy]:
    """A running proxy: nginx, nginx-location or caddy; with these changes to its configuration."""
    program = "caddy" if kind == "caddy" else "nginx"
    path = shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin")
    if not path:
        pytest.skip(f"NOT TESTED: {program} is not installed (Debian: apt install nginx caddy)")
    port, file, trust = free_port(), folder / "proxy.conf", _certified(folder)
    words = {"nginx": _nginx, "nginx-location": _nginx_location, "caddy": _caddy}[kind](folder, port, upstream)
    _write(file, replaced(words, changes or {}))
    command = {
        "caddy": [path, "run", "--config", str(file), "--adapter", "caddyfile"],
        "nginx": [path, "-c", str(file), "-p", str(folder), "-e", str(folder / "error.log"), "-g", "daemon off;"],
    }
    running = Proxy(kind, port, folder, command[program], trust)
    await running.start()
    try:
        yield running
    finally:
        await running.stop()


def _certified(folder: Path) -> ssl.SSLContext:
    """Make the folder, with a certificate and its key in one file. Who connects has to trust this."""
    folder.mkdir()
    authority = trustme.CA()
    authority.issue_cert(NAME).private_key_and_cert_chain_pem.write_to_path(folder / "cert.pem")
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    return trust


def _write(file: Path, words: str) -> None:
    file.write_text(words)


DEBIAN = """
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ worker_connections 768; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    types_hash_max_size 2048;
    access_log {folder}/access.log;
    {site}
}}
"""
"""What Debian has around a site, with a log that tells more."""
OTHER_SITE = """
    server {{
        listen 127.0.0.1:{port} ssl;
        server_name sms.example.com;
        client_header_timeout 8s;
        ssl_certificate {folder}/cert.pem;
        ssl_certificate_key {folder}/cert.pem;
        location / {{ return 204; }}
        location /in/ {{ include {folder}/location.conf; }}
    }}
"""


def _within_debian(folder: Path, site: str) -> str:
    return DEBIAN.format(folder=folder, user="user www-data;" if os.geteuid() == 0 else "", site=site)


def _nginx(folder: Path, port: int, upstream: str) -> str:
    certificates = f"/etc/letsencrypt/live/{NAME}"
    return _within_debian(
        folder,
        replaced(
            (ROOT / "deploy/nginx.conf").read_text(),
            {
                "listen 443 ssl backlog=2048;": f"listen 127.0.0.1:{port} ssl;",
                "    listen [::]:443 ssl;\n": "",
                "listen 80;": f"listen 127.0.0.1:{free_port()};",
                "    listen [::]:80;\n": "",
                f"{certificates}/fullchain.pem": f"{folder}/cert.pem",
                f"{certificates}/privkey.pem": f"{folder}/cert.pem",
                "/var/log/nginx/": f"{folder}/",
                "127.0.0.1:8080": upstream,
            },
        ),
    )


def _nginx_location(folder: Path, port: int, upstream: str) -> str:
    words = (ROOT / "deploy/nginx-location.conf").read_text()
    (folder / "location.conf").write_text(replaced(words, {"127.0.0.1:8080": upstream}))
    return _within_debian(folder, OTHER_SITE.format(folder=folder, port=port))


def _caddy(folder: Path, port: int, upstream: str) -> str:
    here = f"\tadmin off\n\thttps_port {port}\n\thttp_port {free_port()}\n\tauto_https disable_redirects\n"
    return replaced(
        (ROOT / "deploy/Caddyfile").read_text(),
        {
            "\n{\n": f"\n{{\n{here}",
            f"\n{NAME} {{\n": f"\n{NAME} {{\n\tbind 127.0.0.1\n\ttls {folder}/cert.pem {folder}/cert.pem\n",
            f"http://{NAME} {{\n": f"http://{NAME} {{\n\tbind 127.0.0.1\n",
            "127.0.0.1:8080": upstream,
        },
    )
