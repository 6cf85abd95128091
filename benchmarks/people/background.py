"""FastAPI with BackgroundTasks: a report is answered, and then stored."""

from fastapi import BackgroundTasks, FastAPI

from benchmarks import wire
from benchmarks.people.events import Report, store

app = FastAPI()


@app.get(wire.path("dlr"))
async def report(
    background: BackgroundTasks,
    ID: str,  # noqa: N803 - the parameters are Spryng's
    RECIPIENT: str,  # noqa: N803
    STATUS: str,  # noqa: N803
    REFERENCE: str | None = None,  # noqa: N803
    OPERATOR_STATUS_AT: str | None = None,  # noqa: N803
) -> str:
    """Say that it is stored, and store it later."""
    background.add_task(
        store,
        Report(message_id=ID, recipient=RECIPIENT, status=STATUS, reference=REFERENCE, reported_at=OPERATOR_STATUS_AT),
    )
    return "OK"
