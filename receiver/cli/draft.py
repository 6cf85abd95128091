"""The configuration that `init` writes: short, commented, and complete enough to serve."""

import json
from collections.abc import Mapping

from pydantic_core import to_jsonable_python

from receiver import plugins

HEAD = """\
# The receiver's configuration; config.example.toml and the reference explain every key.
# After a change: receiver check

[server]
listen = "127.0.0.1:8080"        # where callbacks arrive; put a proxy with TLS in front of it
admin_listen = "127.0.0.1:8081"  # health and metrics
{public_url}

[store]
url = "sqlite:///receiver.db"    # beside this file
keep = "90 days"
"""
SOURCE = """
[sources.{name}]
provider = "{name}"
secrets = ["{secret}"]  # part of the callback URLs: receiver urls
"""
TAIL = """
# One line for each event; numbers are masked unless reveal = true.
[handlers.audit]
use = "log"

# [handlers.crm]
# use = "forward"
# url = "https://crm.example.com/sms"
# secret = { file = "crm.secret" }  # whsec_…, a Standard Webhooks signing secret
"""


def text(secrets: Mapping[str, str], public_url: str) -> str:
    """A configuration for these providers, each with its secret."""
    url = public_url or "https://sms.example.com"
    line = f"{'' if public_url else '# '}public_url = {json.dumps(url)}"
    sources = [SOURCE.format(name=name, secret=secret) + _own(name) for name, secret in secrets.items()]
    return HEAD.format(public_url=line) + "".join(sources) + TAIL


def _own(provider: str) -> str:
    """The provider's own keys with their defaults, as comments."""
    lines = []
    for name, field in plugins.provider_class(provider).Settings.model_fields.items():
        default = "…" if field.is_required() else to_jsonable_python(field.get_default(call_default_factory=True))
        lines.append(f"# {field.alias or name} = {json.dumps(default, ensure_ascii=False)}\n")
    return "".join(lines)
