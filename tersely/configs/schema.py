"""JSON Schema of a recipe, for editors: `tersely recipes --schema`."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import types
import typing
from typing import Any

from tersely.configs.dataset import SourceSpec
from tersely.configs.guards import Guards
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
    ours = _properties(Recipe)
    found: dict[str, Any] = {}
    for key in recipe_keys():
        if key in KEYS:
            found[key] = ours[key]
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


def _properties(cls: type) -> dict[str, Any]:
    """Schema of each field of a dataclass."""
    hints, texts = typing.get_type_hints(cls), key_texts(cls)
    found = {}
    for one in dataclasses.fields(cls):
        stated = {} if one.default in (dataclasses.MISSING, None, ()) else {"default": one.default}
        found[one.name] = {**_of_key(cls, one.name, hints[one.name]), "description": texts[one.name], **stated}
    return found


def section_keys(cls: type, where: str) -> list[tuple[str, Any, str]]:
    """(dotted key, default, description) of each key of a section and of the sections in it; `...` for no default."""
    hints, found = typing.get_type_hints(cls), []
    texts = key_texts(cls)
    for one in dataclasses.fields(cls):
        inner = [part for part in (typing.get_args(hints[one.name]) or (hints[one.name],)) if _is_section(part)]
        if inner:
            found += section_keys(inner[0], f"{where}.{one.name}")
        else:
            default = one.default_factory() if one.default_factory is not dataclasses.MISSING else one.default
            found.append((f"{where}.{one.name}", ... if default is dataclasses.MISSING else default, texts[one.name]))
    return found


def key_texts(cls: type = Recipe) -> dict[str, str]:
    """Key -> its description, the text below the field of the dataclass. A field that a subclass gives another default keeps
    the text of its base class, unless it has one of its own."""
    found: dict[str, str] = {}
    for part in reversed(cls.__mro__[:-1]):
        (body,) = ast.parse(inspect.getsource(part)).body
        assert isinstance(body, ast.ClassDef)
        for statement, following in zip(body.body, [*body.body[1:], None], strict=True):
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                text = following.value if isinstance(following, ast.Expr) else None
                if isinstance(text, ast.Constant):
                    found[statement.target.id] = " ".join(str(text.value).split())
    return found


def _of_key(cls: type, key: str, hint: Any) -> dict[str, Any]:
    if key == "stages":
        return {"type": "array", "items": {"type": "object", "required": ["name"]}}
    if key in ("reward", "dataset"):  # one needs no list
        one = _of(ComponentSpec if key == "reward" else SourceSpec)
        return {"anyOf": [one, {"type": "array", "items": one}]}
    if cls is Guards:
        spec, *off = typing.get_args(hint) or (hint,)
        return {"anyOf": [_of(spec), {"const": False}]} if off else _of(spec)
    return _of(hint)


def _is_section(hint: Any) -> bool:
    return dataclasses.is_dataclass(hint) and hint not in (ComponentSpec, SourceSpec, Recipe)


def _of(hint: Any) -> dict[str, Any]:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_of(part) for part in parts]}
    if origin is typing.Literal:
        return {"enum": list(parts)}
    if origin in (tuple, list):
        return {"type": "array", "items": _of(parts[0])}
    if origin is dict:
        return KINDS[dict]
    if hint is SourceSpec:
        return {"anyOf": [KINDS[str], _section(hint)]}
    if dataclasses.is_dataclass(hint) and hint not in KINDS:
        return _section(hint)
    return KINDS.get(hint, {})


def _section(cls: Any) -> dict[str, Any]:
    needed = [
        one.name
        for one in dataclasses.fields(cls)
        if one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
    ]
    return {"type": "object", "properties": _properties(cls), "required": needed, "additionalProperties": False}
