"""FastAPI and SQLAlchemy: a report is stored in a transaction of its own, then answered."""

from fastapi import FastAPI

from benchmarks import wire
from benchmarks.people.events import Report, store

app = FastAPI()


@app.get(wire.path("dlr"))
def report(
    ID: str,  # noqa: N803 - the parameters are Spryng's
    RECIPIENT: str,  # noqa: N803
    STATUS: str,  # noqa: N803
    REFERENCE: str | None = None,  # noqa: N803
    OPERATOR_STATUS_AT: str | None = None,  # noqa: N803
) -> str:
    """Store it, and say so."""
    store(
        Report(message_id=ID, recipient=RECIPIENT, status=STATUS, reference=REFERENCE, reported_at=OPERATOR_STATUS_AT)
    )
    return "OK"
