"""Callbacks as Spryng sends them: reports as GET, messages as form POST, times on Dutch clocks."""

from datetime import datetime, timedelta
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from receiver.cli.simulate.shape import TEXTS, Making, Repeating, Request, Shape, doubling, each_minute

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
OPERATORS = ("20404", "20408", "20416")
# STATUS and REASONCODE (Spryng docs 7.1, 7.2), and how often of a hundred.
RESULTS = {("10", "0"): 92, ("20", "20"): 4, ("20", "21"): 1.5, ("20", "22"): 1.5, ("20", "31"): 0.7, ("20", "32"): 0.3}


def report(making: Making) -> Request:
    """A delivery report about a message sent some seconds ago."""
    (result,) = making.random.choices(list(RESULTS), weights=list(RESULTS.values()))
    status, code = result
    took = timedelta(seconds=making.random.randint(2, 30))
    fields = {
        "ID": _id(making),
        "RECIPIENT": _phone(making),
        "STATUS": status,
        "REASONCODE": code,
        "REFERENCE": f"order-{making.number}",
        "ADDED": _local(making.now - took - timedelta(seconds=1)),
        "RESULTDATE": _local(making.now - took),
        "OPERATOR_STATUS_AT": _local(making.now),
        "OPERATOR": making.random.choice(OPERATORS),
    }
    return Request("dlr", "GET", "dlr", query=urlencode(fields))


def message(making: Making) -> Request:
    """An inbound message, its first word as the keyword."""
    keyword, _, rest = making.random.choice(TEXTS).partition(" ")
    fields = {
        "MSISDN": _phone(making),
        "SHORTCODE": "3010",
        "KEYWORD": keyword,
        "PARM": rest,
        "OPERATOR": making.random.choice(OPERATORS),
        "TIMESTAMP": _local(making.now),
        "COUNTRY": "NL",
        "REFERENCE": "",
    }
    body = urlencode(fields).encode()
    return Request("mo", "POST", "mo", body=body, content_type="application/x-www-form-urlencoded")


def _id(making: Making) -> str:
    """A UUID that no other run and no other message has."""
    digits = f"{making.run:012x}{making.number:020x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _phone(making: Making) -> str:
    """A number of its own for ten million messages, in 06-0, which is given to nobody (Dutch numbering plan)."""
    return f"3160{(making.run + making.number * 7_654_321) % 10**7:07}"


def _local(moment: datetime) -> str:
    return moment.astimezone(AMSTERDAM).strftime("%Y%m%d%H%M%S")


SHAPE = Shape(
    make={"dlr": report, "mo": message},
    repeating={
        "dlr": Repeating(doubling, timedelta(days=2.5)),  # Spryng docs 7.1: exponentially, around 2.5 days
        "mo": Repeating(each_minute, timedelta(hours=24)),  # Spryng docs 8
    },
    words="reports exponentially for 2.5 days, messages each minute for 24 h",
)
