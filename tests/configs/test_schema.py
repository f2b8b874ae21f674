"""The JSON Schema takes every shipped recipe and refuses a wrong key."""

from __future__ import annotations

import pytest
import yaml

from tersely.configs.load import list_recipes, load_recipe
from tersely.configs.recipe import KEYS
from tersely.configs.schema import json_schema

jsonschema = pytest.importorskip("jsonschema")


@pytest.mark.parametrize("name", list_recipes())
def test_a_shipped_recipe_is_valid(name):
    jsonschema.validate(load_recipe(name).to_dict(), json_schema())


@pytest.mark.parametrize("values", ["group_sise: 8", "group_size: many", "reward: {beta: 0.1}", "stages: one"])
def test_a_wrong_key_or_value_is_refused(values):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(values), json_schema())


def test_every_key_has_a_description():
    properties = json_schema()["properties"]
    assert all(properties[key]["description"] for key in KEYS)
