"""What `init` writes: a configuration, short and complete enough to serve, and fresh secrets."""

import json
import secrets
from collections.abc import Mapping

from pydantic_core import to_jsonable_python

from receiver import plugins

SECRET_BYTES = 32

HEAD = """\
# The receiver's configuration; config.example.toml and the reference explain every key.
# After a change: {after}

[server]
listen = "127.0.0.1:8080"        # where callbacks arrive; put a proxy with TLS in front of it
admin_listen = "127.0.0.1:8081"  # health and metrics
{public_url}

[store]
url = "{store}"{where}
keep = "90 days"
"""
SOURCE = """
[sources.{name}]
provider = "{name}"
secrets = [{secret}]  # part of the callback URLs: receiver urls
"""
TAIL = """
# One line for each event; numbers are masked unless reveal = true.
[handlers.audit]
use = "log"

# [handlers.crm]
# use = "forward"
# url = "https://crm.example.com/sms"
# secret = {{ file = "{folder}crm{ending}" }}  # whsec_…, a Standard Webhooks signing secret
"""
PLUGINS = """
# [plugins]
# directory = "handlers.d"  # handlers of your own, a file each
"""


def fresh_secret() -> str:
    """A secret for a path."""
    return secrets.token_urlsafe(SECRET_BYTES)


def text(written: Mapping[str, str], public_url: str) -> str:
    """A configuration for these providers, each with its secret as TOML; everything lies beside the file."""
    head = _head(public_url, "sqlite:///receiver.db", "    # beside this file", "receiver check")
    return head + _sources(written) + TAIL.format(folder="", ending=".secret")


def system_text(written: Mapping[str, str], public_url: str, store: str) -> str:
    """A configuration for a whole system: the store has a folder of its own."""
    head = _head(public_url, f"sqlite:///{store}", "", "receiver check && systemctl reload receiver")
    return head + _sources(written) + TAIL.format(folder="secrets/", ending="") + PLUGINS


def source(name: str, secret: str) -> str:
    """The table of one source."""
    return SOURCE.format(name=name, secret=secret) + _own(name)


def _head(public_url: str, store: str, where: str, after: str) -> str:
    line = f"{'' if public_url else '# '}public_url = {json.dumps(public_url or 'https://sms.example.com')}"
    return HEAD.format(public_url=line, store=store, where=where, after=after)


def _sources(written: Mapping[str, str]) -> str:
    return "".join(source(name, secret) for name, secret in written.items())


def _own(provider: str) -> str:
    """The provider's own keys with their defaults, as comments."""
    lines = []
    for name, field in plugins.provider_class(provider).Settings.model_fields.items():
        default = "…" if field.is_required() else to_jsonable_python(field.get_default(call_default_factory=True))
        lines.append(f"# {field.alias or name} = {json.dumps(default, ensure_ascii=False)}\n")
    return "".join(lines)
