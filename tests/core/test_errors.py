from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersely.core.errors import ConfigError, check_fields, nearest, require_choice, require_range


@dataclass
class Settings:
    rate: float
    steps: int = 1
    name: str = "x"
    how: Literal["sum", "mean"] = "sum"
    limit: float | None = None
    taps: Sequence[int] = (1,)
    on: bool = False
    extra: dict = field(default_factory=dict)
    hidden: int = field(default=0, init=False)


def test_good_values_become_keyword_arguments():
    values = {"rate": "1e-7", "steps": 3, "limit": None, "taps": [1, 2], "on": True, "extra": {"a": 1}}
    assert check_fields(Settings, values, "s") == {**values, "rate": 1e-7, "taps": (1, 2)}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rat": 1.0}, "s: .*'rat'.*'rate'"),
        ({"rate": 1.0, "hidden": 2}, "parameter 'hidden'"),
        ({"steps": 1}, "s: .*rate"),
        ({"rate": True}, r"s: rate.*True \(bool\).*number"),
        ({"rate": 1.0, "steps": 1.5}, "steps.* 1.5.*whole number"),
        ({"rate": 1.0, "steps": True}, "whole number"),
        ({"rate": 1.0, "name": 3}, "name.* 3 .*text"),
        ({"rate": 1.0, "extra": "a"}, "extra.* 'a'.*a mapping, {key: value}"),
        ({"rate": 1.0, "on": 1}, "true or false"),
        ({"rate": 1.0, "how": "sun"}, "'sum'"),
        ({"rate": 1.0, "limit": "high"}, "limit.* 'high'.*a number or null"),
        ({"rate": 1.0, "taps": [1, "b"]}, r"taps\[1\].* 'b'"),
    ],
)
def test_wrong_values_are_named_with_the_fix(values, message):
    with pytest.raises(ConfigError, match=message):
        check_fields(Settings, values, "s")


def test_a_class_that_is_no_dataclass_checks_itself():
    assert check_fields(dict, {"anything": 1}, "s") == {"anything": 1}


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_range_is_exactly_the_stated_one(value):
    inside = math.isfinite(value) and 0 < value <= 1
    try:
        require_range("s.x", value, above=0, at_most=1)
    except ConfigError as error:
        assert not inside and "s.x: " in str(error) and "above 0" in str(error)
    else:
        assert inside


def test_range_without_bounds_still_wants_a_finite_number():
    require_range("s.x", None, above=0)
    with pytest.raises(ConfigError, match="a finite number"):
        require_range("s.x", math.nan)


def test_choice_and_nearest():
    require_choice("s.how", "sum", ("sum", "mean"))
    with pytest.raises(ConfigError, match="s.how.* 'men'.*'mean'"):
        require_choice("s.how", "men", ("sum", "mean"))
    assert nearest("zzz", ["b", "a"]) == "valid: a, b"
