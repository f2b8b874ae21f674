"""Loads methods and recipes: YAML files, merged and checked before any heavy import.

    resolved recipe = preset's slots and settings  <-  recipe  <-  overrides        (the rightmost has priority)

A slot is replaced as a whole. Parameters that a recipe does not set, as in `reward: {name: alp, beta: 0.3}`, come from
the shipped preset of that name (`tersely.configs.started`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from tersely.configs.overrides import set_dotted
from tersely.configs.recipe import Recipe
from tersely.configs.started import started
from tersely.core.errors import ConfigError, nearest
from tersely.core.paths import expanded, expanded_values, fault_of

CARD_KEYS = ("title", "paper", "summary", "label", "published")
SLOT_KEYS = ("prompting", "sampling", "trim", "reward", "advantage", "loss", "filter", "aggregate", "controllers")
METHOD_KEYS = (*CARD_KEYS, *SLOT_KEYS, "settings", "stages")


def list_methods() -> list[str]:
    """Names of the shipped presets."""
    return sorted(path.stem for path in _folder("methods").glob("*.yaml"))


def list_recipes() -> list[str]:
    """Names of the shipped recipes, `<model>/<recipe>`."""
    root = _folder("recipes")
    return sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.yaml"))


def load_method(name: str) -> dict[str, Any]:
    """Load a preset by name or YAML path. Unknown names and keys are errors with the nearest match."""
    path = Path(expanded(name, "method"))
    if not _is_yaml(path):
        if name not in list_methods():
            raise ConfigError(f"unknown method {name!r}; {nearest(name, list_methods())}")
        path = _folder("methods") / f"{name}.yaml"
    method = read_yaml(path)
    for key in method:
        if key not in METHOD_KEYS:
            raise ConfigError(f"{path.name}: unknown key {key!r}; {nearest(str(key), METHOD_KEYS)}")
    return method


def load_recipe(
    path: str | Path, overrides: Mapping[str, Any] | None = None, tell: Callable[[str], None] | None = None
) -> Recipe:
    """Load a recipe: its method's preset, then the recipe, then the overrides; dotted ones (`reward.beta`) come last.

    `path` is a YAML file or the name of a shipped recipe (`testbed/alp`). A method in the overrides replaces the slots, stages
    and settings of the recipe's method; `tell` receives a line about it. Raises `ConfigError` for an unknown name or key.
    """
    return Recipe.of(resolved_values(path, overrides, tell))


def resolved_values(
    path: str | Path, overrides: Mapping[str, Any] | None = None, tell: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """The unchecked values of `load_recipe`; a file may omit keys that the command line sets."""
    return with_overrides(read_yaml(_recipe_path(str(path))), overrides or {}, tell)


def with_overrides(
    base: Mapping[str, Any], overrides: Mapping[str, Any], tell: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Apply overrides to a recipe that is already read or resolved."""
    base, overrides = dict(base), dict(overrides)
    dotted = {key: overrides.pop(key) for key in list(overrides) if "." in str(key)}
    if "method" in overrides and overrides["method"] != base.get("method"):
        if overrides["method"] is not None:
            load_method(str(overrides["method"]))
        base = _without_method(base, overrides, tell or (lambda text: None))
    recipe = {**base, **overrides}
    if recipe.get("method") is not None:
        found = load_method(str(recipe["method"]))
        preset = {key: found[key] for key in (*SLOT_KEYS, "stages") if key in found}
        recipe = {**preset, **(found.get("settings") or {}), **recipe}
    for key, value in sorted(dotted.items(), key=lambda pair: pair[0].count(".")):
        recipe = set_dotted(recipe, key, value)
    return expanded_values(_started(recipe))


def _without_method(base: dict[str, Any], overrides: Mapping[str, Any], tell: Callable[[str], None]) -> dict[str, Any]:
    """The recipe without slots, stages, and the settings that come from its method."""
    before = base.get("method")
    try:
        settings = load_method(str(before)).get("settings") or {} if before is not None else {}
    except ConfigError:
        settings = {}  # the preset no longer exists
    gone = {
        key: value
        for key, value in base.items()
        if key in (*SLOT_KEYS, "stages") or (key in settings and settings[key] == value)
    }
    if replaced := [f"{key} {_short(value)}" for key, value in gone.items() if key not in overrides]:
        of = f" of method {before}" if before is not None else " of the recipe"
        tell(
            f"method {'none' if overrides['method'] is None else overrides['method']} replaces {', '.join(replaced)}{of}"
        )
    return {key: value for key, value in base.items() if key not in gone}


def _short(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6).removesuffix("...\n").strip()
    return text if len(text) <= 120 else text[:117] + "..."


def _started(recipe: dict[str, Any]) -> dict[str, Any]:
    """Complete the recipe's components with the values of the shipped presets of their names."""
    method = load_method(str(recipe["method"])) if recipe.get("method") is not None else {}
    shipped = list_methods()
    return started(recipe, method, lambda name: load_method(name) if name in shipped else {}, SLOT_KEYS)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file with a mapping; raises `ConfigError` for anything else and for duplicate keys."""
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({fault_of(error)})") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: invalid YAML: {' '.join(str(error).split())}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: got a {type(values).__name__}; expected a mapping of keys to values")
    return values


class _Loader(yaml.SafeLoader):
    """SafeLoader that raises for duplicate keys; YAML silently takes the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is not None and key != "<<" and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _recipe_path(name: str) -> Path:
    path = Path(expanded(name, "recipe"))
    if _is_yaml(path):
        return path
    if name in list_recipes():
        return _folder("recipes") / f"{name}.yaml"
    raise ConfigError(
        f"unknown recipe {name!r}; expected a .yaml file or a shipped recipe; {nearest(name, list_recipes())}"
    )


def _is_yaml(path: Path) -> bool:
    return path.suffix in (".yaml", ".yml")


def _folder(kind: str) -> Path:
    return Path(str(files("tersely.configs"))) / kind
