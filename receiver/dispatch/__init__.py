"""Events out: claim what handlers are owed, hand it to them, settle what became of it."""

from receiver.dispatch.dispatcher import Dispatcher

__all__ = ["Dispatcher"]
