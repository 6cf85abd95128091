"""Receives SMS delivery reports and inbound messages, stores each before it answers, and hands them to your code."""

from receiver.events import DeliveryReport, Event, InboundMessage, Notice
from receiver.handler import Attempt, BaseHandler, Discard, Pause, Retry, Unavailable
from receiver.secret import Secret

__version__ = "0.1.0"

__all__ = [
    "Attempt",
    "BaseHandler",
    "DeliveryReport",
    "Discard",
    "Event",
    "InboundMessage",
    "Notice",
    "Pause",
    "Retry",
    "Secret",
    "Unavailable",
]
