"""Callbacks as BulkVS sends them: JSON on one webhook, texts mostly form-encoded, reports as SMPP receipts."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote_plus

from receiver.cli.simulate.shape import TEXTS, Making, Repeating, Request, Shape, each_minute

OURS = "13109060901"
# SMPP state and carrier error, and how often of a hundred.
RESULTS = {("DELIVRD", "000"): 92, ("UNDELIV", "255"): 5, ("REJECTD", "015"): 1.5, ("EXPIRED", "001"): 1.5}
PICTURES = 0.05
PLAIN = 0.2
"""How many texts are not form-encoded; both were seen."""


def report(making: Making) -> Request:
    """A delivery report, flagged and with a RefId as on accounts with Dlr, or without both."""
    (result,) = making.random.choices(list(RESULTS), weights=list(RESULTS.values()))
    state, error = result
    done = _minute(making.now)
    submitted = _minute(making.now - timedelta(seconds=making.random.randint(2, 30)))
    arrived = int(state == "DELIVRD")
    text = (
        f"id:{making.run:012}{making.number} sub:001 dlvrd:{arrived:03} submit date:{submitted} done date:{done} "
        f"stat:{state} err:{error} text:Your order is on "
    )
    fields: dict[str, Any] = {"From": _phone(making), "To": [OURS], "Message": _written(making, text)}
    if making.random.random() < 0.7:
        fields |= {"RefId": f"{making.run:X}-{making.number:X}", "DeliveryReceipt": True}
    return _request("dlr", fields)


def message(making: Making) -> Request:
    """An inbound message; one in twenty is a picture. Nothing in it tells a repeat from a second "OK"."""
    text = making.random.choice(TEXTS)
    fields: dict[str, Any] = {"From": _phone(making), "To": [OURS], "Message": _written(making, text)}
    if making.random.random() < PICTURES:
        url = f"https://media.example.com/{making.run}-{making.number}"
        fields |= {"Message": "", "MediaURLs": [f"{url}.smil", f"{url}.jpg"]}
    return _request("mo", fields, identified=False)


def _request(kind: str, fields: dict[str, Any], *, identified: bool = True) -> Request:
    body = json.dumps(fields).encode()
    return Request(kind, "POST", "webhook", body=body, content_type="application/json", identified=identified)


def _written(making: Making, text: str) -> str:
    return text if making.random.random() < PLAIN else quote_plus(text)


def _phone(making: Making) -> str:
    """A number of its own for eight million messages, in the exchange 555, where no phones are."""
    area, line = divmod((making.run + making.number * 7_654_321) % 8_000_000, 10_000)
    return f"1{200 + area}555{line:04}"


def _minute(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%y%m%d%H%M")


# BulkVS publishes no schedule; implementers say only that it repeats what got no 200.
_REPEATING = Repeating(each_minute, timedelta(hours=24))
SHAPE = Shape(
    make={"dlr": report, "mo": message},
    repeating={"dlr": _REPEATING, "mo": _REPEATING},
    words="each minute for 24 h (BulkVS publishes no schedule: a guess)",
)
