"""Words of the command line as values: text as it is, and commas that separate only outside brackets and quotes."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing

import pytest

from tersely.configs.overrides import DEFAULTS, parse_value, recipe_keys, split_values
from tersely.core.errors import ConfigError


def _is_text(hint) -> bool:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return all(_is_text(part) for part in typing.get_args(hint) if part is not type(None))
    return isinstance(hint, type) and issubclass(hint, str | enum.Enum)


def test_the_text_keys_are_those_of_the_dataclasses():
    from trl import GRPOConfig

    from tersely.configs.recipe import KEYS, Recipe

    hints = {**typing.get_type_hints(GRPOConfig), **typing.get_type_hints(Recipe)}
    names = {*KEYS, *(field.name for field in dataclasses.fields(GRPOConfig) if field.init)}
    assert recipe_keys("text") == sorted(name for name in names if _is_text(hints[name]))


def test_the_text_parts_are_those_of_components_and_sections():
    from tersely.configs.cold_start import ColdStart
    from tersely.configs.dataset import SourceSpec
    from tersely.configs.evaluation import EvaluationSpec
    from tersely.configs.guards import Guards
    from tersely.configs.verifier import JudgeSection, Policy, VerifierSpec
    from tersely.core.build import SLOTS, registry

    classes = [cls for slot in SLOTS for cls in registry(slot).values() if dataclasses.is_dataclass(cls)]
    kinds: dict[str, set[bool]] = {}
    guards = [type(getattr(Guards(), one.name)) for one in dataclasses.fields(Guards)]
    for cls in [*classes, *guards, SourceSpec, EvaluationSpec, VerifierSpec, JudgeSection, Policy, ColdStart]:
        hints = typing.get_type_hints(cls)
        for field in dataclasses.fields(cls):
            if field.init:
                kinds.setdefault(field.name, set()).add(_is_text(hints[field.name]))
    assert recipe_keys("text_parts") == sorted(name for name, kind in kinds.items() if kind == {True})


NOT_AS_YAML_HAS_IT = [
    *(
        "a # b",
        "Think: then",
        "- first",
        "@x",
        "!x",
        "%x",
        "&x",
        "*x",
        '"q"',
        "'q'",
        '"a" and "b"',
        "yes",
        "no",
        "null",
    ),
    *("1e3", "0x10", "1_000", "12:30:45", "2020-01-01", "[a", "{a}", "{a: 1}", "true", "~", "on", "a: b # c", "> x"),
    *("`x`", "?", "- ", "#x", " x ", "x:", "=", "<<", "\\n", "1.0", "007", "-1", "--"),
]


@pytest.mark.parametrize(
    "key",
    [
        "instruction",
        "system_prompt",
        "prompting.instruction",
        "stages.a.system_prompt",
        "evaluation.dataset.instruction",
    ]
    + ["dataset.instruction", "env.WORD"],
)
@pytest.mark.parametrize("words", NOT_AS_YAML_HAS_IT)
def test_text_reaches_the_recipe_as_it_is(key, words):
    from tersely.configs.load import with_overrides
    from tersely.launch.cli.parser import overrides_from

    sections = {
        "prompting": "autothink",
        "stages": [{"name": "a", "steps": 5}],
        "dataset": {"path": "testbed"},
        "env": {},
    }
    recipe = {**sections, "evaluation": {"every": 5, "dataset": {"path": "testbed"}}}
    found = with_overrides(recipe, overrides_from([f"--{key}={words}"]))
    for part in key.split("."):
        found = found[0] if part == "a" else found[part]
    assert found == (None if key == "env.WORD" and words in ("null", "~") else words)


def test_defaults_of_slots_are_the_objectives():
    from tersely.algorithms.objective import SLOT_DEFAULTS

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
    assert parse_value("run_name", "null") is None and parse_value("instruction", "null") == "null"
    assert parse_value("instruction", "") == "" and parse_value("seed", "-1") == -1
    assert parse_value("dataset", "my file #3.jsonl") == "my file #3.jsonl"
    assert parse_value("prompting.instruction", "Think: then # answer.") == "Think: then # answer."
    assert parse_value("prompting.instruction", '"a: b"') == '"a: b"'
    with pytest.raises(ConfigError, match=r"--servers.*'\[a'"):
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
    with pytest.raises(ConfigError):
        split_values(text)
