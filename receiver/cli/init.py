"""The command `init`: writes a configuration with fresh secrets, for a folder or for a whole system."""

import os
from pathlib import Path

import click
from click.core import ParameterSource

from receiver import config as configuration
from receiver import plugins
from receiver.cli import draft, options, urls
from receiver.errors import ConfigFault

DEFAULT_FILE = Path("receiver.toml")
DEFAULT_SOURCES = ("spryng", "bulkvs")


def _known_providers(_ctx: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    known = plugins.providers()
    for name in given:
        if name not in known:
            hint = plugins.did_you_mean(name, known)
            raise click.BadParameter(f'no provider "{name}"; known: {", ".join(known)}{hint}')
    return tuple(dict.fromkeys(given))


@options.command(
    "receiver init --public-url https://sms.example.com",
    "receiver init --source spryng --config /srv/sms/receiver.toml",
    "receiver init --system --source spryng --public-url https://sms.example.com        as root, on a server",
)
@options.config
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="PROVIDER",
    default=DEFAULT_SOURCES,
    show_default=True,
    callback=_known_providers,
    help="A provider that will call; to be repeated.",
)
@click.option("--public-url", default="", metavar="URL", help="How providers reach this machine.")
@click.option("--system", is_flag=True, help="For a server: /etc/receiver, /var/lib/receiver and the user receiver.")
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False, resolve_path=True),
    metavar="DIR",
    help="With --system: make all of it below DIR, where the system of an image is.",
)
@click.pass_context
def init(
    ctx: click.Context,
    config: Path | None,
    sources: tuple[str, ...],
    public_url: str,
    system: bool,
    root: Path | None,
) -> None:
    """Write a configuration with fresh secrets and print the URLs for the providers' portals.

    It is ./receiver.toml unless --config names another. With --system all that a server needs is made: configuration,
    secrets, user, folders and the lines for nginx. What is there already is never touched.
    """
    if system:
        from receiver.cli import system as whole

        if config:
            raise click.UsageError("--system writes /etc/receiver/config.toml; leave --config out")
        named = ctx.get_parameter_source("sources") is not ParameterSource.DEFAULT
        whole.install(root or Path("/"), sources, public_url, named=named)
        return
    if root:
        raise click.UsageError("--root belongs to --system")
    _in_a_folder((config or DEFAULT_FILE).absolute(), sources, public_url)


def _in_a_folder(file: Path, sources: tuple[str, ...], public_url: str) -> None:
    _write(file, draft.text({name: f'"{draft.fresh_secret()}"' for name in sources}, public_url))
    try:
        settings = configuration.load(file, secrets=True)
    except ConfigFault:
        file.unlink()  # a public URL that is none: the next try shall not find this one's file
        raise
    click.echo(f"wrote {file} (mode 0600; it holds the secrets)\n")
    urls.print_all(settings)
    shown = "" if file == DEFAULT_FILE.absolute() else f" --config {file}"
    click.echo(f"Next:\n  receiver check{shown}\n  receiver serve{shown}")


def _write(file: Path, text: str) -> None:
    """Create a file that only its owner reads; never touches one that is there."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigFault(f"{file}: is there already and stays as it is; remove it or name another: --config") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(text)
