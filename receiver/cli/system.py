"""What `init --system` makes: a user, folders, secrets, configuration and lines for nginx; nothing is overwritten."""

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import click

from receiver import config as configuration
from receiver.cli import draft, opening, urls
from receiver.errors import ConfigFault

if TYPE_CHECKING:
    from receiver.config import Settings

USER = "receiver"
FOLDER, STATE = Path("/etc/receiver"), Path("/var/lib/receiver")
NGINX = "nginx-location.conf"
PREFIX = Path("/opt/receiver/bin")
"""Where the units look for the command."""
HIDDEN = (Path("/home"), Path("/root"), Path("/run/user"))
"""What ProtectHome= hides from the units."""


class Owner(NamedTuple):
    """Whose a file is."""

    uid: int
    gid: int


class Made:
    """What was made, and what was there already: told line by line, and undone where the whole makes no sense."""

    def __init__(self) -> None:
        self.new: list[Path] = []

    def told(self, verb: str, path: Path, note: str) -> None:
        """Say what became of a path."""
        click.echo(f"  {verb:<5} {path!s:<36}  ({note})")

    def file(self, path: Path, text: str, mode: int, owner: Owner, note: str = "") -> None:
        """Write a file that is not there yet; whole or not at all."""
        if path.exists():
            self.told("kept", path, "is there already")
            return
        part = path.with_name(f".{path.name}.new")
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
            os.chown(out.fileno(), *owner)
            os.chmod(out.fileno(), mode)
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        try:
            os.link(part, path)  # fails where somebody was quicker
        finally:
            part.unlink()
        self.new.append(path)
        self.told("wrote", path, f"{note}{'root' if owner.uid == 0 else USER}:{USER} {mode:04o}")

    def folder(self, path: Path, owner: Owner) -> None:
        """Make a folder that is not there yet."""
        if path.is_dir():
            self.told("kept", path, "is there already")
            return
        path.mkdir(parents=True, mode=0o750)
        os.chown(path, *owner)
        path.chmod(0o750)
        self.told("made", path, f"{'root' if owner.uid == 0 else USER}:{USER} 0750")

    def undo(self) -> None:
        """Remove the files of this run."""
        for path in self.new:
            path.unlink(missing_ok=True)


def install(root: Path, sources: Sequence[str], public_url: str, *, named: bool) -> None:
    """Make what is missing below `root`, and print what to do with it. `named`: somebody chose these sources.

    Raises ConfigFault where the configuration, one that was there or this URL, is wrong; Refused without the rights.
    """
    if os.geteuid() != 0:
        raise opening.Refused("--system makes a user and writes below /etc: run it as root, with sudo")
    made, etc = Made(), _below(root, FOLDER)
    user = account(root)
    ours = Owner(0, user.gid)
    made.folder(etc, ours)
    made.folder(etc / "secrets", ours)
    made.folder(_below(root, STATE), user)
    file = etc / "config.toml"
    missing = list(sources)
    if file.exists():
        configured = configuration.load(file).sources
        missing = [name for name in sources if name not in configured] if named else []
    for name in missing:
        made.file(
            etc / "secrets" / name, f"{draft.fresh_secret()}\n", 0o640, ours, f"{draft.SECRET_BYTES} random bytes, "
        )
    places = {name: f'{{ file = "secrets/{name}" }}' for name in missing}
    there = file.exists()
    made.file(file, draft.system_text(places, public_url, f"{STATE}/receiver.db"), 0o640, ours)
    try:
        settings = _loaded(file)
    except ConfigFault:
        made.undo()
        raise
    made.file(etc / NGINX, nginx(settings), 0o644, Owner(0, ours.gid))
    if made.new:
        opening.acted(settings, "init --system", count=len(made.new), root=str(root) if root != Path("/") else "")
    _next_steps(settings, root, places if there else {})


def account(root: Path) -> Owner:
    """The user and group `receiver` of the system below `root`; made where they are not there."""
    below = [] if root == Path("/") else ["--prefix", str(root)]
    try:
        if (gid := _id(root, "group")) is None:
            subprocess.run([_tool("groupadd"), *below, "--system", USER], check=True)
            click.echo(f"  made  group {USER}")
            gid = _id(root, "group")
        if (uid := _id(root, "passwd")) is None:
            home = ["--home-dir", str(STATE), "--no-create-home", "--shell", "/usr/sbin/nologin"]
            what = ["--system", "--gid", USER, *home, "--comment", "SMS receiver", USER]
            subprocess.run([_tool("useradd"), *below, *what], check=True)
            click.echo(f"  made  user {USER}")
            uid = _id(root, "passwd")
    except (OSError, subprocess.CalledProcessError) as fault:
        raise opening.Refused(f"cannot make the user {USER} ({fault}); make user and group, then try again") from None
    if uid is None or gid is None:
        raise opening.Refused(f"user and group {USER} were made, and are not to be found")
    return Owner(uid, gid)


def _tool(name: str) -> str:
    """The path of a program for administrators; also where `su` left their folder out of PATH."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or name


def _id(root: Path, database: str) -> int | None:
    """The number of the user or group `receiver`; None where there is none."""
    if root == Path("/"):
        import grp
        import pwd

        with suppress(KeyError):
            return pwd.getpwnam(USER).pw_uid if database == "passwd" else grp.getgrnam(USER).gr_gid
        return None
    with suppress(FileNotFoundError):
        for line in (root / "etc" / database).read_text().splitlines():
            name, _, number = line.split(":")[:3]
            if name == USER:
                return int(number)
    return None


def nginx(settings: "Settings") -> str:
    """What stands in nginx's location /in/, for this address and these bodies."""
    server, text = settings.server, (shipped() / NGINX).read_text("utf-8")
    target = f"unix:{server.listen.path}" if server.listen.path else str(server.listen)
    size = f"{-(-server.max_body // 1024)}k"
    return text.replace("http://127.0.0.1:8080", f"http://{target}").replace(" 64k;", f" {size};")


def shipped() -> Path:
    """The folder of what stands beside a receiver: inside the package where it is installed, beside it in a clone."""
    package = Path(str(files("receiver")))
    return package / "deploy" if (package / "deploy").is_dir() else package.parent / "deploy"


def units() -> Path:
    """The folder with the units."""
    return next(folder for folder in (shipped() / "systemd", shipped().parent / "systemd") if folder.is_dir())


def _loaded(file: Path) -> "Settings":
    """The configuration, with its secrets where they can be read outside the unit."""
    settings = configuration.load(file)
    return settings if settings.credentials else configuration.load(file, secrets=True)


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _next_steps(settings: "Settings", root: Path, added: dict[str, str]) -> None:
    click.echo()
    if added:
        click.echo(f"{settings.file} was there and is as it was. Add to it, for what is new:")
        for name, secret in added.items():
            click.echo(draft.source(name, secret))
    if settings.credentials:
        click.echo("The secrets are credentials of the unit; `receiver urls` prints the URLs where it can read them.\n")
    else:
        urls.print_all(settings)
    host = urlsplit(settings.server.public_url).hostname
    if not host:
        click.echo("These hold on this machine only: set server.public_url, and `receiver urls` prints them again.\n")
    click.echo(f"nginx, into the server block of {host or 'your name'} that listens on 443:")
    click.echo(f"  location /in/ {{ include {FOLDER}/{NGINX}; }}\n  client_header_timeout 8s;\n")
    click.echo(f"Another way in front: {shipped()}/Caddyfile, or nginx.conf there, a site of its own.\n")
    click.echo("Next, the units:")
    for command in _unit_commands(root, Path(sysconfig.get_path("scripts"))):
        click.echo(f"  {command}")
    click.echo("\nThen:  receiver doctor")


def _unit_commands(root: Path, here: Path) -> list[str]:
    """What to paste so that the units run; with a line more where the command is not where they look for it."""
    sudo = "sudo " if os.environ.get("SUDO_USER") else ""
    target = _below(root, Path("/etc/systemd/system"))
    folder = units()
    names = [path.name for kind in ("socket", "service") for path in sorted(folder.glob(f"*.{kind}"))]
    commands = [f"{sudo}cp {folder}/*.socket {folder}/*.service {target}/"]
    if any(here.is_relative_to(hidden) for hidden in HIDDEN):
        commands.insert(0, f"# they cannot see {here}: install the receiver in {PREFIX.parent}, where they look for it")
    elif here != PREFIX:
        commands.append(f"{sudo}sed -i 's|{PREFIX}/|{here}/|' {target}/receiver*.service")
    if root != Path("/"):
        return [*commands, f"{sudo}systemctl --root={root} enable {' '.join(names)}"]
    return [*commands, f"{sudo}systemctl daemon-reload", f"{sudo}systemctl enable --now {' '.join(names)}"]
