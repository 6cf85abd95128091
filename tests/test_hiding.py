"""What is said about a message is told without its words and numbers, however they are quoted."""

import html
import json
from urllib.parse import quote_plus

import pytest
from factories import message, report

from receiver.hiding import hide
from receiver.perform import shortened

TEXT = "Mijn geheim café <b>naïef</b>"


@pytest.mark.parametrize(
    "said",
    [
        f"ValueError: cannot read {TEXT}",
        f"ValueError: {TEXT!r}",
        f"ValueError: {TEXT.upper()}",
        f"400 {json.dumps({'text': TEXT})}",
        f"400 {json.dumps({'text': TEXT}, ensure_ascii=False)}",
        f"no such page: /sms?text={quote_plus(TEXT)}",
        f"<p>{html.escape(TEXT)}</p>",
        f"{TEXT.encode()}",
        "only one word of it: geheim",
    ],
)
def test_the_words_of_a_message_are_hidden_however_they_are_quoted(said: str) -> None:
    hidden = hide(said, message(text=TEXT)).lower()
    assert [word for word in ("mijn", "geheim", "caf", "naïef", "na\\u00ef") if word in hidden] == []


def test_a_word_that_was_cut_off_is_hidden_too() -> None:
    said = shortened("x" * 290 + " geheimzinnig")
    assert said.endswith(" geheimzi…")
    assert hide(said, message(text="geheimzinnig")).endswith(" ***…")


def test_what_is_none_of_a_message_stays() -> None:
    assert hide("503 no seats left at 10.0.0.1", message(text="INFO ok")) == "503 no seats left at 10.0.0.1"


def test_numbers_are_masked_also_where_there_is_no_text() -> None:
    assert hide("no such person: +31612345678", report()) == "no such person: +31*******78"


def test_what_any_of_several_messages_holds_is_hidden() -> None:
    assert hide("one two six", message(text="one"), message(text="two"), report()) == "*** *** six"
