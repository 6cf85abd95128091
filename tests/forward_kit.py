"""What the tests of forward share: secrets, the shortest good answer, and reading what came of it."""

import asyncio
import base64
from typing import Any

from http_target import Request
from receiver.handlers.forward import Forward
from standardwebhooks import Webhook

from receiver import Attempt, Pause, Retry, Unavailable

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
OTHER = "whsec_" + base64.b64encode(b"o" * 32).decode()
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


async def verdict(handler: Forward, event: Any, attempt: Attempt) -> Any:
    """What handling ends in: the answer, or the verdict that was raised."""
    try:
        return await asyncio.wait_for(handler.handle(event, attempt), 5)
    except (Retry, Unavailable, Pause) as raised:
        return raised


def verified(request: Request, secret: str) -> Any:
    """The body, if the independent verifier takes the signature."""
    return Webhook(secret).verify(request.body, request.headers)
