"""JSON whose keys are not unique, or that cannot be read, is a `ValueError` that says why."""

from __future__ import annotations

import pytest

from tersely.core.strict_json import strict_json


@pytest.mark.parametrize("text", ['{"a": 1, "b": [{"a": 2}], "c": {"a": {}}}', "[1, 2]", "null", '"x"'])
def test_what_is_clear_is_read(text):
    assert strict_json(text) == eval(text, {"null": None})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1, "a": 1}', "duplicate key 'a'"),
        ('[{"b": {"c": 0, "d": 1, "c": 2}}]', "key 'c'"),
        ('{"": 1, "": 2}', "key ''"),
        ('{"\\u0061": 1, "a": 2}', "key 'a'"),
        ("[" * 100_000, "nested too deeply"),
        ("9" * 5000, "Exceeds the limit"),
        ("{", "Expecting property name"),
    ],
)
def test_what_is_not_is_an_error(text, words):
    with pytest.raises(ValueError, match=words):
        strict_json(text)
