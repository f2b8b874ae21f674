"""Methods and recipes: YAML files, merged and checked, before anything heavy is imported.

    resolved recipe = preset's slots and settings  <-  recipe  <-  overrides        (what stands right wins)

A slot is replaced whole: a recipe that says `reward: {name: alp, beta: 0.3}` keeps nothing of the preset's reward.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from tersely.checks import SpecError, nearest
from tersely.places import fault_of

CARD_KEYS = ("title", "paper", "summary", "label", "published")
SLOT_KEYS = ("plan", "sampling", "reward", "advantage", "policy", "filter", "aggregate", "controllers")
METHOD_KEYS = (*CARD_KEYS, *SLOT_KEYS, "settings", "stages")


def list_methods() -> list[str]:
    """Names of the shipped presets."""
    return sorted(path.stem for path in _folder("methods").glob("*.yaml"))


def list_recipes() -> list[str]:
    """Names of the shipped recipes, `<model>/<recipe>`."""
    root = _folder("recipes")
    return sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.yaml"))


def load_method(name: str) -> dict[str, Any]:
    """A preset by name, or by the path of a YAML file. Unknown names and keys are errors with the nearest match."""
    path = Path(name)
    if not _is_yaml(path):
        if name not in list_methods():
            raise SpecError(f"method {name!r} does not exist; {nearest(name, list_methods())}")
        path = _folder("methods") / f"{name}.yaml"
    method = read_yaml(path)
    for key in method:
        if key not in METHOD_KEYS:
            raise SpecError(f"{path.name}: a method has no key {key!r}; {nearest(str(key), METHOD_KEYS)}")
    return method


def load_recipe(path: str | Path, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The recipe with its method's preset under it and the overrides over it.

    `path` is a YAML file or the name of a shipped recipe (`testbed/alp`). Raises `SpecError` for an unknown name, and
    for an overriding method that the recipe's own slots would hide.
    """
    own, overrides = read_yaml(_recipe_path(str(path))), dict(overrides or {})
    recipe = {**own, **overrides}
    if recipe.get("method") is None:
        return recipe
    if overrides.get("method", own.get("method")) != own.get("method"):
        hidden = [key for key in SLOT_KEYS if key in own and key not in overrides]
        if hidden:
            raise SpecError(
                f"recipe {path} fills {', '.join(hidden)} itself, which method {overrides['method']!r} would not change; "
                f"override {', '.join(hidden)} too, or write a recipe for the method"
            )
    method = load_method(str(recipe["method"]))
    preset = {key: method[key] for key in (*SLOT_KEYS, "stages") if key in method}
    return {**preset, **(method.get("settings") or {}), **recipe}


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping; anything else, and a key that stands twice, is a `SpecError`."""
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise SpecError(f"{path} cannot be read ({fault_of(error)})") from None
    except UnicodeDecodeError as error:
        raise SpecError(f"{path} cannot be read ({error})") from None
    except yaml.YAMLError as error:
        raise SpecError(f"{path} is no valid YAML: {' '.join(str(error).split())}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SpecError(f"{path} holds a {type(values).__name__}; a mapping of keys to values is expected")
    return values


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, where YAML silently takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is not None and key != "<<" and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _recipe_path(name: str) -> Path:
    path = Path(name)
    if _is_yaml(path):
        return path
    if name in list_recipes():
        return _folder("recipes") / f"{name}.yaml"
    raise SpecError(
        f"recipe {name!r} does not exist; give a .yaml file, or one of the shipped: {nearest(name, list_recipes())}"
    )


def _is_yaml(path: Path) -> bool:
    return path.suffix in (".yaml", ".yml")


def _folder(kind: str) -> Path:
    return Path(str(files("tersely.configs"))) / kind
