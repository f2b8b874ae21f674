"""JSON Schema of a recipe, for editors: `tersely recipes --schema`."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import types
import typing
from typing import Any

from tersely.configs.overrides import recipe_keys
from tersely.configs.recipe import DERIVED, KEYS, Recipe
from tersely.core.component_spec import ComponentSpec

KINDS: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": ["number", "string"]},  # YAML reads 1e-6 as text
    bool: {"type": "boolean"},
    dict: {"type": "object"},
    type(None): {"type": "null"},
    ComponentSpec: {
        "anyOf": [
            {"type": "string"},
            {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
        ]
    },
}


def json_schema() -> dict[str, Any]:
    """Every key of a recipe: ours with type, default and description, TRL's with their type where it is text."""
    hints, texts = typing.get_type_hints(Recipe), key_texts()
    fields = {field.name: field for field in dataclasses.fields(Recipe)}
    found: dict[str, Any] = {}
    for key in recipe_keys():
        if key in KEYS:
            default = fields[key].default
            stated = {} if default in (dataclasses.MISSING, None, ()) else {"default": default}
            found[key] = {**_of_key(key, hints[key]), "description": texts[key], **stated}
        elif key not in DERIVED or key == "loss_type":
            kind = {"type": ["string", "null"]} if key in recipe_keys("text") else {}
            found[key] = {**kind, "description": "A field of TRL's GRPOConfig."}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Recipe of tersely",
        "type": "object",
        "properties": found,
        "additionalProperties": False,
    }


def key_texts() -> dict[str, str]:
    """Key -> its description, the text below the field of `Recipe`."""
    (body,) = ast.parse(inspect.getsource(Recipe)).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for statement, following in zip(body.body, body.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            text = following.value if isinstance(following, ast.Expr) else None
            assert isinstance(text, ast.Constant), f"Recipe.{statement.target.id} has no description"
            found[statement.target.id] = " ".join(str(text.value).split())
    return found


def _of_key(key: str, hint: Any) -> dict[str, Any]:
    if key == "stages":
        return {"type": "array", "items": {"type": "object", "required": ["name"]}}
    if key == "reward":  # one term needs no list
        return {"anyOf": [KINDS[ComponentSpec], {"type": "array", "items": KINDS[ComponentSpec]}]}
    return _of(hint)


def _of(hint: Any) -> dict[str, Any]:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_of(part) for part in parts]}
    if origin is typing.Literal:
        return {"enum": list(parts)}
    if origin is tuple:
        return {"type": "array", "items": _of(parts[0])}
    return KINDS.get(hint, {})
