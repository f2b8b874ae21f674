"""Builds any component from its YAML: `build(slot, spec)`.

A spec is a name, a mapping with `name` and the component's parameters (or a `ComponentSpec`), or for the reward slot a list
of those, which becomes a sum. A name with a colon or a dot (`my_package.my_module:MyReward`) is imported, so that a
component can be outside this package.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from tersely.core.component_spec import ComponentSpec
from tersely.core.errors import ConfigError, check_fields, nearest
from tersely.core.protocols import (
    Advantage,
    Component,
    Controller,
    Filter,
    Loss,
    Prompting,
    Reward,
    Sampling,
    Trim,
    complete,
    completed,
    replaces,
)
from tersely.core.sft_loss import SFTLoss

SLOTS = {
    "prompting": "PROMPTING",
    "sampling": "SAMPLINGS",
    "trim": "TRIMS",
    "reward": "REWARDS",
    "advantage": "ADVANTAGES",
    "loss": "LOSSES",
    "filter": "FILTERS",
    "controller": "CONTROLLERS",
    "sft_loss": "SFT_LOSSES",
}

BASES: dict[str, type] = {
    "prompting": Prompting,
    "sampling": Sampling,
    "trim": Trim,
    "reward": Reward,
    "advantage": Advantage,
    "loss": Loss,
    "filter": Filter,
    "controller": Controller,
    "sft_loss": SFTLoss,
}
"""Slot -> base class with its hooks."""

Spec = str | ComponentSpec | Mapping[str, Any] | Sequence[Any]


_OF_THIS_PROCESS: dict[str, dict[str, type]] = {slot: {} for slot in SLOTS}


def register(slot: str, name: str, cls: type) -> None:
    """Register an external component under a short name in this process. A later call replaces it.

    Other processes do not know the name: a recipe for `tersely launch` uses `package.module:ClassName`.
    Raises `ConfigError` for an unknown slot, the name of a shipped component, and anything that is not a class.
    """
    if slot not in SLOTS:
        raise ConfigError(f"slot: got {slot!r}; {nearest(slot, SLOTS)}")
    if not isinstance(cls, type):
        raise ConfigError(f"{slot} {name}: got {cls!r}; expected a class. Pass the class, not an instance")
    if name in registry(slot) and name not in _OF_THIS_PROCESS[slot]:
        raise ConfigError(f"{slot}: got {name!r}, the name of a shipped component. Choose another name")
    if not name.isidentifier():
        raise ConfigError(f"{slot}: got the name {name!r}; expected letters, digits and _ such as my_{slot}")
    _OF_THIS_PROCESS[slot][name] = cls


def registry(slot: str) -> dict[str, type]:
    """Name -> class of one slot: the shipped and the registered components."""
    if slot not in SLOTS:
        raise ConfigError(f"unknown slot {slot!r}; {nearest(slot, SLOTS)}")
    module = import_module("tersely.rewards" if slot == "reward" else "tersely.algorithms")
    return {**getattr(module, SLOTS[slot]), **_OF_THIS_PROCESS[slot]}


def build(slot: str, spec: Spec) -> Any:
    """Build the component that `spec` describes.

    Raises `ConfigError` (a ValueError) for an unknown slot, name or parameter, with the nearest match, and for a value of
    the wrong type or out of range.
    """
    if isinstance(spec, Sequence) and not isinstance(spec, str):
        if slot != "reward":
            raise ConfigError(
                f"{slot}: got a list; expected one component. Only the reward slot takes a list (a sum of terms)"
            )
        return _reward_sum(spec)
    stated = ComponentSpec.of(slot, spec)
    weighted = slot == "reward" and "weight" in stated.parameters
    if weighted and not _has_field(component_class(slot, stated.name), "weight"):
        return _reward_sum([stated])
    return _make(slot, stated.name, dict(stated.parameters))


def component_class(slot: str, name: str) -> type:
    """The class of a registered name or of an import path."""
    known = registry(slot)
    if name in known:
        return known[name]
    if ":" in name or "." in name:
        return _import_class(slot, name)
    raise ConfigError(f"unknown {slot} {name!r}; {nearest(name, known)}")


def name_of(slot: str, component: Any) -> str:
    """Name of a component in the registry; the class name for an external component."""
    kinds = {completed(BASES[slot], cls): name for name, cls in registry(slot).items()}
    return kinds.get(type(component), type(component).__name__)


def numbered(names: Sequence[str]) -> list[str]:
    """Unique names: a repeated name gets its position as a suffix."""
    return [name if names.index(name) == i else f"{name}_{i}" for i, name in enumerate(names)]


def _has_field(cls: type, name: str) -> bool:
    return dataclasses.is_dataclass(cls) and any(field.name == name for field in dataclasses.fields(cls))


def _make(slot: str, name: str, parameters: dict[str, Any]) -> Any:
    cls = component_class(slot, name)
    if slot in ("loss", "advantage") and "base" in parameters and _has_field(cls, "base"):
        base = parameters["base"]
        try:
            parameters["base"] = complete(BASES[slot], base) if callable(base) else build(slot, base)
        except ConfigError as error:
            raise ConfigError(f"{slot} {name}: base: {error}") from error
    where = f"{slot} {name}"
    fields = check_fields(cls, parameters, where=where)
    shipped = name in registry(slot) and name not in _OF_THIS_PROCESS[slot]
    made = completed(BASES[slot], cls)(**fields) if shipped else _of_users(cls, fields, where, slot)
    if isinstance(made, Component):
        _require_known_needs(made, where)
    return made


def _require_known_needs(component: Component, where: str) -> None:
    """Raise `ConfigError` for an unknown entry of `needs`."""
    from tersely.core.types import COLUMN, FIELDS

    needs = component.needs
    if not isinstance(needs, list | tuple | set) or not all(isinstance(need, str) for need in needs):
        raise ConfigError(f'{where}: needs: got {needs!r}; expected a tuple of names, such as ("completion_text",)')
    for need in needs:
        if need not in FIELDS and not (need.startswith(COLUMN) and len(need) > len(COLUMN)):
            raise ConfigError(f"{where}: needs: got {need!r}; {nearest(need, [*FIELDS, f'{COLUMN}<name>'])}")


def _of_users(cls: type, fields: dict[str, Any], where: str, slot: str) -> Any:
    """Build a component from outside the package; any exception becomes a `ConfigError`."""
    try:
        made = completed(BASES[slot], cls)(**fields)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{where}: cannot be built ({type(error).__name__}: {error})") from error
    for name in ("update", "statistic") if slot == "controller" else ("__call__",):
        if not replaces(made, name):
            raise ConfigError(f"{where}: {cls.__name__} has no {name}, which every {slot} needs. Add it to the class")
    return made


def _reward_sum(specs: Sequence[Any]) -> Any:
    from tersely.core.reward_sum import RewardSum

    if not specs:
        raise ConfigError("reward: got an empty list; expected at least one term, for example {name: correctness}")
    names, terms, weights = [], [], []
    for spec in specs:
        stated = ComponentSpec.of("reward", spec)
        name, parameters = stated.name, dict(stated.parameters)
        if _has_field(component_class("reward", name), "weight"):
            weight = _make("reward", name, parameters).weight  # checked and converted by the term
            parameters["weight"] = 1.0  # the sum applies it, so that a `per_term` advantage gets the plain column
        else:
            weight = parameters.pop("weight", 1.0)
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise ConfigError(f"reward {name}: weight: got {weight!r}; expected a number")
        names.append(name)
        terms.append(_make("reward", name, parameters))
        weights.append(float(weight))
    return RewardSum(tuple(names), tuple(terms), tuple(weights))


def _import_class(slot: str, path: str) -> type:
    module_name, _, attribute = path.replace(":", ".").rpartition(".")
    try:
        value = getattr(import_module(module_name), attribute)
    except (Exception, SystemExit) as error:  # the module's code can raise anything
        text = " ".join(str(error).split())
        raise ConfigError(
            f"{slot}: cannot import {path!r} ({type(error).__name__}: {text}); expected package.module:ClassName. Check "
            "that the package is installed or on PYTHONPATH"
        ) from error
    if not isinstance(value, type):
        raise ConfigError(f"{slot}: got {path!r}; expected a class")
    return value
