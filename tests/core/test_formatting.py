"""Numbers as text, and metrics as displayed."""

import math

import pytest

from twosided.core.formatting import interval, number, with_error
from twosided.core.metrics import Metric
from twosided.core.records import Record


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (-0.5, 1, "−0.5"),
        (-0.04, 1, "0.0"),
        (0.0, 2, "0.00"),
        (-1234.5678, 2, "−1,234.57"),
        (-0.4, 0, "0"),
        (12, 0, "12"),
        (math.nan, 2, "–"),
    ],
)
def test_number_has_a_true_minus_sign_and_no_negative_zero(value, digits, text):
    assert number(value, digits) == text


@pytest.mark.parametrize(
    ("value", "error", "texts"),
    [
        (0.0123456, None, ("0.01235", "")),
        (0.0123456, 0.00098, ("0.01235", "0.00098")),
        (12.3456, 0.98, ("12.35", "0.98")),
        (-123456.7, 20.0, ("−123,457", "20")),
        (4e-5, 0.2, ("0.00004", "0.20000")),
        (-2e-9, None, ("−2.0e−09", "")),
        (2e-9, 3e-10, ("2.0e−09", "3.0e−10")),
        (0.0, 0.0, ("0", "")),
        (0.0, None, ("0", "")),
        (0.0, 0.25, ("0.00", "0.25")),
        (-238.0, None, ("−238", "")),
        (math.nan, None, ("–", "")),
        (1.0, math.nan, ("1.000", "")),
    ],
)
def test_digits_follow_the_size_of_error_and_value(value, error, texts):
    assert with_error(value, error) == texts


@pytest.mark.parametrize("exponent", range(-12, 4))
@pytest.mark.parametrize("figures", [None, 3])
def test_number_other_than_zero_is_never_shown_as_zero(exponent, figures):
    for error in (None, 1e-3, 1.0, 1e3):
        value, _ = with_error(1.7 * 10.0**exponent, error, figures=figures)
        assert set(value) & set("123456789"), value


@pytest.mark.parametrize(
    ("error", "scale", "digits", "text"),
    [
        (0.004, 100.0, 2, "0.40"),
        (0.004, -100.0, 2, "0.40"),
        (0.004, 1.0, 2, ""),
        (None, 1.0, 2, ""),
        (0.0, 1.0, 2, ""),
        (math.nan, 1.0, 2, ""),
        (20.0, 1.0, 0, "20"),
    ],
)
def test_errors_that_round_to_zero_are_left_out(error, scale, digits, text):
    assert Metric("x", "x", scale=scale, digits=digits).text(1.0, error)[1] == text


def test_brief_numbers_have_three_significant_digits_and_no_more_decimals_than_others():
    metric = Metric("x", "x", scale=100.0, digits=2)
    assert metric.text(0.8695, 0.01739) == ("86.95", "1.74")
    assert metric.text(0.8695, 0.01739, brief=True) == ("87.0", "1.7")
    assert metric.text(12.345, brief=True) == ("1,234", "")
    assert metric.text(-0.0004, brief=True) == ("−0.04", "")
    assert metric.text(0.9997, brief=True) == metric.text(1.0, brief=True) == ("100", "")


def test_interval_has_the_quantile_of_the_degrees_of_freedom():
    low, high = interval(Record("case", 0, "x", 10.0, 2.0, dof=4))
    # Student's 97.5% quantile with 4 degrees of freedom, from a table.
    assert (low, high) == pytest.approx((10 - 2 * 2.776445, 10 + 2 * 2.776445), abs=1e-5)


def test_interval_is_that_of_a_normal():
    low, high = interval(Record("case", 0, "x", 10.0, 2.0))
    assert (low, high) == (pytest.approx(6.080072), pytest.approx(13.919928))
    assert interval(Record("case", 0, "x", 10.0)) == (10, 10)
