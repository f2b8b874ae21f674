"""Completes a recipe's components with the values of the shipped preset of the same name.

`reward: alp` and `reward: {name: alp, beta: 0.3}` are completed by the reward of `configs/methods/alp.yaml`: the class's
defaults are the paper's, and may be for another advantage or another unit. If the recipe's method has the component,
its values have priority. `tersely.build` and presets keep the class's defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

LISTS = ("reward", "controllers")
"""Slots that hold a list of components."""


def started(
    values: Mapping[str, Any],
    method: Mapping[str, Any],
    preset: Callable[[str], Mapping[str, Any]],
    slots: Sequence[str],
) -> dict[str, Any]:
    """Complete each component in `values` (a recipe or a stage). `preset`: name -> shipped preset, or {}."""
    found = dict(values)
    for slot in slots:
        if slot in found and found[slot] != method.get(slot):  # values from the method stay as they are
            found[slot] = _slot(slot, found[slot], method, preset)
    stages = found.get("stages")
    if isinstance(stages, list) and stages != method.get("stages"):
        found["stages"] = [
            started(stage, method, preset, slots) if isinstance(stage, Mapping) else stage for stage in stages
        ]
    return found


def _slot(slot: str, spec: Any, method: Mapping[str, Any], preset: Callable[[str], Mapping[str, Any]]) -> Any:
    if slot in LISTS and isinstance(spec, list):
        return [_slot(slot, term, method, preset) for term in spec]
    name = _name(spec)
    if name is None:
        return spec
    stated = {} if isinstance(spec, str) else dict(spec)
    if slot == "loss" and stated.get("base") is not None:
        stated["base"] = _slot(slot, stated["base"], method, preset)
    source = _of_name(slot, name, method)
    if source is None:
        source = _of_name(slot, name, preset(name))
    if source is None or set(source) <= {"name"}:
        return spec if isinstance(spec, str) else stated
    return {**source, **stated}


def _of_name(slot: str, name: str, method: Mapping[str, Any]) -> dict[str, Any] | None:
    """The preset's values for this component: {} if it is named without parameters, None if it is not in the preset."""
    specs = method.get(slot)
    for spec in specs if isinstance(specs, list) else [specs]:
        while spec is not None:
            if _name(spec) == name:
                return {} if isinstance(spec, str) else dict(spec)
            spec = spec.get("base") if isinstance(spec, Mapping) else None
    return None


def _name(spec: Any) -> str | None:
    if isinstance(spec, str):
        return spec
    return spec["name"] if isinstance(spec, Mapping) and isinstance(spec.get("name"), str) else None
