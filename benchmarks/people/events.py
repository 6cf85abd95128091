"""The table that both keep their reports in, with SQLAlchemy's defaults."""

from datetime import UTC, datetime

from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

engine = create_engine("sqlite:///events.db")


class Base(DeclarativeBase):
    """The tables."""


class Report(Base):
    """A delivery report."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(primary_key=True)
    message_id: Mapped[str] = mapped_column(index=True)
    recipient: Mapped[str]
    status: Mapped[str]
    reference: Mapped[str | None]
    reported_at: Mapped[str | None]
    received_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))


Base.metadata.create_all(engine)


def store(report: Report) -> None:
    """One transaction."""
    with Session(engine) as session:
        session.add(report)
        session.commit()
