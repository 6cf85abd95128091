"""What providers send, as bytes: every request a different message, with the time at which it is sent."""

import itertools
import os
import time
from collections.abc import Callable
from urllib.parse import quote

SECRET = "0123456789abcdef0123456789abcdef"
SCATTER = 0x9E3779B1
"""Odd, so that multiples of it modulo 2^32 are all different and in no order, as ids of providers are."""
HEAD = b"Host: 127.0.0.1\r\nUser-Agent: benchmark\r\n"

Requests = Callable[[], bytes]


class Clock:
    """The time of now as providers write it; formatted once a second."""

    def __init__(self, format: str) -> None:
        self._format = format
        self._second = 0
        self._text = b""

    def __call__(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._text = time.strftime(self._format, time.gmtime(second)).encode()
        return self._text


def path(kind: str) -> str:
    """Where callbacks of this kind go."""
    source, endpoint = {"dlr": ("spryng", "dlr"), "mo": ("spryng", "mo"), "bulkvs": ("bulkvs", "webhook")}[kind]
    return f"/in/{source}/{endpoint}/{SECRET}"


def requests(kind: str) -> Requests:
    """A function that makes the next request of this kind."""
    return {"dlr": _reports, "mo": _forms, "bulkvs": _objects}[kind]()


def _reports() -> Requests:
    """Delivery reports of Spryng: GET with everything in the query."""
    clock, count, run = Clock("%Y%m%d%H%M%S"), itertools.count().__next__, int.from_bytes(os.urandom(6), "big")
    whole = (
        b"GET %b?ID=%%08x-5f2c-4b1e-9a3d-%012x&RECIPIENT=316%%08d&STATUS=10&REFERENCE=order-%%08x"
        b"&OPERATOR_STATUS_AT=%%b HTTP/1.1\r\n%b\r\n"
    ) % (path("dlr").encode(), run, HEAD)

    def make() -> bytes:
        number = count()
        scattered = number * SCATTER & 0xFFFFFFFF
        return whole % (scattered, scattered % 100_000_000, scattered, clock())

    return make


def _forms() -> Requests:
    """Inbound messages of Spryng: a form, POSTed."""
    clock, count, run = Clock("%Y%m%d%H%M%S"), itertools.count().__next__, os.urandom(4).hex()
    body = f"MSISDN=316%08d&SHORTCODE=3010&PARM={quote('Where is my order? ')}{run}-%08x&TIMESTAMP=%b".encode()
    body = body.replace(b"%20", b"+").replace(b"%3F", b"%%3F")
    head = b"POST %b HTTP/1.1\r\n%bContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %%d\r\n\r\n" % (
        path("mo").encode(),
        HEAD,
    )

    def make() -> bytes:
        scattered = count() * SCATTER & 0xFFFFFFFF
        form = body % (scattered % 100_000_000, scattered, clock())
        return head % len(form) + form

    return make


def _objects() -> Requests:
    """Inbound messages of BulkVS: JSON without an id or a time."""
    count, run = itertools.count().__next__, os.urandom(4).hex()
    body = f'{{"From":"1310%07d","To":["13109060901"],"Message":"Where+is+my+order%%3F+{run}-%08x"}}'.encode()
    head = b"POST %b HTTP/1.1\r\n%bContent-Type: application/json\r\nContent-Length: %%d\r\n\r\n" % (
        path("bulkvs").encode(),
        HEAD,
    )

    def make() -> bytes:
        scattered = count() * SCATTER & 0xFFFFFFFF
        text = body % (scattered % 10_000_000, scattered)
        return head % len(text) + text

    return make
