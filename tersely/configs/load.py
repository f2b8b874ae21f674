"""Methods and recipes: YAML files, merged and checked, before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from tersely.checks import SpecError, nearest

METHOD_KEYS = (
    *("title", "paper", "summary", "label"),
    *("plan", "sampling", "reward", "advantage", "policy", "filter", "aggregate", "controllers"),
    *("settings", "stages"),
)
SLOT_KEYS = METHOD_KEYS[4:12]


def list_methods() -> list[str]:
    """Names of the shipped presets."""
    return sorted(
        path.name.removesuffix(".yaml") for path in _folder("methods").iterdir() if path.name.endswith(".yaml")
    )


def list_recipes() -> list[str]:
    """Names of the shipped recipes, `<model>/<recipe>`."""
    root = Path(str(_folder("recipes")))
    return sorted(str(path.relative_to(root).with_suffix("")) for path in root.rglob("*.yaml"))


def load_method(name: str) -> dict[str, Any]:
    """A preset by name, or by the path of a YAML file. Unknown names and keys are errors with the nearest match."""
    path = Path(name)
    if not path.suffix:
        if name not in list_methods():
            raise SpecError(f"method {name!r} does not exist; {nearest(name, list_methods())}")
        path = Path(str(_folder("methods"))) / f"{name}.yaml"
    method = _read(path)
    for key in method:
        if key not in METHOD_KEYS:
            raise SpecError(f"{path.name}: a method has no key {key!r}; {nearest(key, METHOD_KEYS)}")
    return method


def load_recipe(path: str | Path, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The recipe with its method's preset under it and the overrides over it. Slots are replaced whole."""
    recipe = {**_read(_recipe_path(str(path))), **(overrides or {})}
    if recipe.get("method") is None:
        return recipe
    method = load_method(str(recipe["method"]))
    slots = {key: method[key] for key in SLOT_KEYS if key in method}
    return {**slots, **(method.get("settings") or {}), **recipe}


def _recipe_path(name: str) -> Path:
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return path
    if name in list_recipes():
        return Path(str(_folder("recipes"))) / f"{name}.yaml"
    raise SpecError(
        f"recipe {name!r} does not exist; give a .yaml file, or one of the shipped: {nearest(name, list_recipes())}"
    )


def _folder(kind: str) -> Any:
    return files("tersely.configs") / kind


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as error:
        raise SpecError(f"{path} cannot be read ({error.strerror})") from None
    except yaml.YAMLError as error:
        raise SpecError(f"{path} is no valid YAML: {' '.join(str(error).split())}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SpecError(f"{path} holds a {type(values).__name__}; a mapping of keys to values is expected")
    return values
