"""The JSON Schema takes every shipped recipe and refuses a wrong key."""

from __future__ import annotations

import pytest
import yaml

from tersely.configs.load import list_recipes, load_recipe
from tersely.configs.recipe import Recipe
from tersely.configs.schema import json_schema

jsonschema = pytest.importorskip("jsonschema")


@pytest.mark.parametrize("name", list_recipes())
def test_a_shipped_recipe_is_valid(name):
    jsonschema.validate(load_recipe(name).to_dict(), json_schema())


@pytest.mark.parametrize(
    "values",
    [
        "group_sise: 8",
        "group_size: many",
        "reward: {beta: 0.1}",
        "stages: one",
        "dataset: {title: gsm8k}",
        "dataset: [{path: a.jsonl, limit: few}]",
        "verifier: {timeuot: 5}",
        "verifier: {policy: {percents: sign}}",
        "verifier: {judge: {url: a}}",
        "evaluation: {dataset: math500}",
        "guards: {repetitions: false}",
        "guards: {repetition: {patience: long}}",
        "guards: {mismatch: false}",
    ],
)
def test_a_wrong_key_or_value_is_refused(values):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(values), json_schema())


@pytest.mark.parametrize(
    "values",
    [
        "dataset: gsm8k",
        "dataset: [{name: gsm8k, weight: 2}, {path: a.jsonl, columns: {problem: question}}]",
        "verifier: {timeout: 2, policy: {units: drop}, judge: {url: http://a/v1, model: m, require_boxed: true}}",
        "evaluation: {every: 5, dataset: {path: a.jsonl}, floor: 0.5}",
        "guards: {repetition: false, mismatch: {threshold: 0.1}}",
    ],
)
def test_a_section_that_the_parser_takes_is_valid(values):
    section = yaml.safe_load(values)
    Recipe.of({"model_name_or_path": "testbed", **section})
    jsonschema.validate(section, json_schema())


def test_every_key_has_a_description():
    def texts(schema):
        for key, one in schema.get("properties", {}).items():
            yield key, one.get("description")
            yield from texts(one)
        for one in schema.get("anyOf", ()):
            yield from texts(one)

    found = list(texts(json_schema()))
    assert {"threshold", "percent", "url", "floor", "columns"} <= {key for key, _ in found}
    assert not [key for key, text in found if not text and key != "name"]
