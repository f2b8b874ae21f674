"""Words of the command line as values: text as it is, and commas that separate only outside brackets and quotes."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing

import pytest

from tersely.checks import SpecError
from tersely.configs.overrides import DEFAULTS, parse_value, recipe_keys, split_values


def _is_text(hint) -> bool:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return all(_is_text(part) for part in typing.get_args(hint) if part is not type(None))
    return isinstance(hint, type) and issubclass(hint, str | enum.Enum)


def test_the_text_keys_are_those_of_the_dataclasses():
    from trl import GRPOConfig

    from tersely.rl.config import RunConfig

    hints = {**typing.get_type_hints(GRPOConfig), **typing.get_type_hints(RunConfig)}
    names = {field.name for cls in (RunConfig, GRPOConfig) for field in dataclasses.fields(cls) if field.init}
    assert recipe_keys("text") == sorted(name for name in names if _is_text(hints[name]))


def test_defaults_of_slots_are_the_objectives():
    from tersely.rl.objective import SLOT_DEFAULTS

    assert {**SLOT_DEFAULTS, **DEFAULTS} == {**SLOT_DEFAULTS, "dataset": "testbed"}


@pytest.mark.parametrize("key", recipe_keys("text"))
@pytest.mark.parametrize(
    "words",
    ["Think: then answer.", "Answer # briefly", "[1", "{a}", "no", "1e-4", "- x", "'tis", "a, b", "*x", "@y", "%z"],
)
def test_a_text_key_takes_the_words_as_they_are(key, words):
    assert parse_value(key, words) == words


def test_other_keys_are_yaml_but_no_words_are_lost():
    assert parse_value("reward", "{name: alp, beta: 0.3}") == {"name": "alp", "beta": 0.3}
    assert parse_value("servers", "[a, b]") == ["a", "b"]
    assert parse_value("instruction", "null") is None and parse_value("seed", "-1") == -1
    assert parse_value("dataset", "my file #3.jsonl") == "my file #3.jsonl"
    assert parse_value("plan.instruction", "Think: then # answer.") == "Think: then # answer."
    assert parse_value("plan.instruction", '"a: b"') == "a: b"
    with pytest.raises(SpecError, match=r"servers: got '\[a', which is not a YAML value"):
        parse_value("servers", "[a")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("1,2", ["1", "2"]),
        ("[1,2],[3]", ["[1,2]", "[3]"]),
        ("{name: alp, beta: 0.1},{name: kimi}", ["{name: alp, beta: 0.1}", "{name: kimi}"]),
        ("{a: [1, {b: 2}]},x", ["{a: [1, {b: 2}]}", "x"]),
        ('"a, b",c', ['"a, b"', "c"]),
        ("{a: 'x, y'},z", ["{a: 'x, y'}", "z"]),
        ("don't,won't", ["don't", "won't"]),
        ("a", ["a"]),
    ],
)
def test_commas_inside_brackets_and_quotes_do_not_separate(text, parts):
    assert split_values(text) == parts


@pytest.mark.parametrize("text", ["[1,2", "1]", "{a: [1}"])
def test_brackets_that_do_not_match_are_refused(text):
    with pytest.raises(SpecError):
        split_values(text)
