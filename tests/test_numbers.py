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
