"""Phone numbers: comparing, recognising, masking."""

import pytest

from receiver import numbers


@pytest.mark.parametrize(
    "written", ["+31612345678", "0031612345678", "31612345678", "+31 6 1234-5678", "+31 (6) 12345678"]
)
def test_one_number_in_many_notations_compares_equal(written: str) -> None:
    assert numbers.digits(written) == "31612345678"


def test_a_name_compares_without_regard_to_case() -> None:
    assert numbers.digits(" Acme ") == "acme"


@pytest.mark.parametrize("written", ["", "00", "+", "0"])
def test_what_is_only_a_prefix_compares_as_it_is(written: str) -> None:
    assert numbers.digits(written) == written


@pytest.mark.parametrize(
    ("number", "explicit"),
    [
        ("+31612345678", "+31612345678"),
        ("0031612345678", "+31612345678"),
        ("31612345678", None),
        ("3010", None),
        ("+12", None),
        ("+3161234567890123", None),
        ("+３１６１２３４５６７８", None),
    ],
)
def test_only_a_leading_plus_or_00_makes_a_number_international(number: str, explicit: str | None) -> None:
    assert numbers.explicit(number) == explicit


def test_a_trailing_star_makes_a_pattern_a_prefix() -> None:
    assert numbers.matches("+316*", "0031612345678")
    assert not numbers.matches("+316*", "+4912345678")


def test_without_a_star_the_whole_number_counts() -> None:
    assert numbers.matches("0031612345678", "+31612345678")
    assert not numbers.matches("+3161234567", "+31612345678")


@pytest.mark.parametrize(
    ("number", "masked"),
    [
        ("+31612345678", "+31*******78"),
        ("3010", "****"),
        ("12345", "*****"),
        ("123456", "123*56"),
        ("", "-"),
        (None, "-"),
    ],
)
def test_a_mask_leaves_three_and_two_characters_of_what_is_long_enough(number: str | None, masked: str) -> None:
    assert numbers.mask(number) == masked


@pytest.mark.parametrize(
    "text",
    [
        b"+31612345678",
        b"0031612345678",
        b"from 31 6 12-34 56 78.",
        b"(31)612345678",
        b"MSISDN=%2B31612345678&SHORTCODE=3010",
        b"?to=%2031612345678",
        b"?to=%33%31612345678",
        b'{"to":"\\u002b31612345678"}',
        b'{"to":"\\u0033\\u0031612345678"}',
        "31\u00a0612345678".encode(),
        "+31612345678".encode("utf-16-le"),
        b'{"to":31612345678}',
    ],
)
def test_a_number_is_seen_however_it_is_written(text: bytes) -> None:
    written = numbers.Written("+31 612345678")
    assert written.is_in(text)
    assert written.in_file(text)


@pytest.mark.parametrize(
    "text", [b"316123456789", b"9931612345678", b"31612345679", b"0612345678", b"id=%39931612345678"]
)
def test_another_number_is_another_one(text: bytes) -> None:
    assert not numbers.Written("+31612345678").is_in(text)


def test_in_a_file_values_touch_each_other() -> None:
    """The bytes of a row have nothing between its columns."""
    assert numbers.Written("+31612345678").in_file(b"\x00\x0b30103161234567812") == [(6, 17)]


def test_a_name_is_seen_in_any_case() -> None:
    assert numbers.Written("ACME").is_in(b"from=Acme")
    assert not numbers.Written("ACME").is_in(b"A C M E")


def test_a_number_is_blotted_and_nothing_else() -> None:
    told = numbers.Written("+31612345678").blotted("no route to +31 612345678, nor to +31687654321")
    assert told == "no route to +************, nor to +31687654321"
