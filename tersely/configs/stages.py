"""Resolves the `stages:` of a recipe: the steps of each, its folder, and the whole recipe that it runs.

    stages:
      - {name: discovery, share: 0.5}                                  # of max_steps; or `steps: 60`
      - {name: internalization, share: 0.5, reward: lapo_internalization, settings: {max_completion_length: 2048}}

A stage is the recipe with its own slots and settings over it. It keeps its checkpoints in run_dir/stages/<n>-<name>. Steps
count on over the stages. A recipe without stages is one stage in run_dir.

A whole number may be a percentage of the recipe's own value: `max_completion_length: 50%` is half of the recipe's cap, and
inside a component `50%` is half of the stage's cap. Methods state their stages this way, so that they fit the user's cap.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tersely.core.errors import ConfigError, nearest, whole_number

KINDS = ("rl", "sft")
OWN_KEYS = ("name", "kind", "steps", "share", "settings")
SLACK = 0.005
"""Thirds are written 0.33."""
NOT_PER_STAGE = ("run_dir", "model_name_or_path", "stages", "max_steps", "method", "env", "peft")


class StageError(ConfigError):
    """A configuration error of one stage."""

    def __init__(self, stage: str, text: str):
        super().__init__(f"stage {stage}: {text}")


@dataclass(frozen=True)
class ResolvedStage:
    """A stage before its recipe is parsed."""

    name: str | None
    kind: str
    values: dict[str, Any]
    """The whole recipe of the stage, as YAML has it."""
    cold_start: dict[str, Any]
    """What a stage of kind `sft` states, see `tersely.configs.cold_start`."""
    first_step: int
    steps: int
    folder: Path


def resolved_stages(recipe: Mapping[str, Any], run_dir: str) -> list[ResolvedStage]:
    """The stages of a recipe, at least one; `ConfigError` names the stage and the field."""
    base = {key: value for key, value in recipe.items() if key != "stages"}
    specs = recipe.get("stages") or []
    if not isinstance(specs, list):
        raise ConfigError(f"stages: got {specs!r}; expected a list of mappings, each with a name and steps or share")
    if not specs:
        return [ResolvedStage(None, "rl", base, {}, 0, _whole(base, "max_steps", 0), Path(run_dir))]
    stages: list[ResolvedStage] = []
    first = 0
    named = _names_and_kinds(specs)
    for number, (spec, (name, kind), steps) in enumerate(
        zip(specs, named, _steps(specs, named, recipe), strict=True), 1
    ):
        folder = Path(run_dir) / "stages" / f"{number}-{name}"
        changes = _relative(_overrides(spec, name, kind), base, name)
        cold_start = changes.pop("cold_start", {})
        values = {**base, **changes, "run_dir": str(folder), "max_steps": steps}
        stages.append(ResolvedStage(name, kind, values, cold_start, first, steps, folder))
        first += steps
    return stages


def _names_and_kinds(specs: list[Any]) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for number, spec in enumerate(specs, start=1):
        if not isinstance(spec, Mapping) or "name" not in spec:
            raise ConfigError(f"stage {number}: got {spec!r}; expected a mapping with a name and steps or share")
        name, kind = str(spec["name"]), str(spec.get("kind", "rl"))
        if type(spec["name"]) not in (str, int) or not re.fullmatch(r"\w[\w.-]*", name) or name in found:
            raise ConfigError(
                f"stage {number}: name: got {name!r}; expected a unique name of letters, digits, _ . and -"
            )
        if kind not in KINDS:
            raise StageError(name, f"kind: got {kind!r}; {nearest(kind, KINDS)}")
        found[name] = kind
    return list(found.items())


def _steps(specs: list[Mapping[str, Any]], named: list[tuple[str, str]], recipe: Mapping[str, Any]) -> list[int]:
    """Optimizer steps of each stage. Those with shares get whole generation batches, together their part of max_steps."""
    for spec, (name, _) in zip(specs, named, strict=True):
        _check_steps(spec, name, recipe)
    shares = [float(spec["share"]) for spec in specs if "share" in spec]
    _check_shares(shares, all_of=len(shares) == len(specs))
    if not shares:
        return [spec["steps"] for spec in specs]
    total, updates = _whole(recipe, "max_steps"), _whole(recipe, "updates_per_batch") * _whole(recipe, "num_iterations")
    if total % updates:
        raise ConfigError(
            f"max_steps: got {total}; expected a multiple of updates_per_batch * num_iterations = {updates}, so that each "
            "stage has whole generation batches"
        )
    if len(shares) > total // updates:
        raise ConfigError(
            f"max_steps: got {total}, which is {total // updates} generation batches for {len(shares)} stages; expected at "
            f"least {len(shares) * updates}"
        )
    parts = iter(batches_of(shares, total // updates))
    return [next(parts) * updates if "share" in spec else spec["steps"] for spec in specs]


def batches_of(shares: list[float], batches: int) -> list[int]:
    """Generation batches of each stage, at least one; shares of 1 in all get all of them."""
    whole = sum(shares)
    batches = batches if abs(whole - 1) <= SLACK else max(len(shares), round(whole * batches))
    ends = [0]
    for number in range(1, len(shares) + 1):
        end = round(sum(shares[:number]) / whole * batches)
        ends.append(min(max(end, ends[-1] + 1), batches - (len(shares) - number)))
    return [end - start for start, end in itertools.pairwise(ends)]


def _whole(recipe: Mapping[str, Any], key: str, default: int = 1) -> int:
    value = recipe.get(key)
    return default if value is None else whole_number(key, value)


def _check_steps(spec: Mapping[str, Any], name: str, recipe: Mapping[str, Any]) -> None:
    if ("steps" in spec) == ("share" in spec):
        raise StageError(name, "expected either steps or share (of max_steps)")
    if "steps" in spec:
        steps = spec["steps"]
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise StageError(name, f"steps: got {steps!r}; expected a whole number, at least 1")
        return
    share, total = spec["share"], recipe.get("max_steps")
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise StageError(name, f"share: got {share!r}; expected above 0 and at most 1")
    if total is None or whole_number("max_steps", total) < 1:
        raise StageError(name, f"share: max_steps is {total!r}. Set max_steps")


def _overrides(spec: Mapping[str, Any], name: str, kind: str) -> dict[str, Any]:
    settings = {} if spec.get("settings") is None else spec["settings"]
    if not isinstance(settings, Mapping):
        raise StageError(name, f"settings: got {settings!r}; expected a mapping")
    stated = {key: value for key, value in spec.items() if key not in OWN_KEYS}
    for key in (*settings, *stated):
        if key in NOT_PER_STAGE:
            raise StageError(name, f"{key} belongs to the whole run. Set it once, outside the stages")
    if kind == "sft":
        return {"cold_start": {**stated, "settings": dict(settings)}}
    return {**settings, **stated}


def _relative(values: dict[str, Any], base: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """Percentages as numbers: of the recipe's own value of a key, and inside a component of this stage's cap."""
    found = {key: _share_of(value, base, key, stage) for key, value in values.items()}
    cap = found.get("max_completion_length", base.get("max_completion_length"))
    return {key: _inside(value, cap, f"stage {stage}: {key}") for key, value in found.items()}


def _share_of(value: Any, base: Mapping[str, Any], key: str, stage: str) -> Any:
    if not _is_percentage(value):
        return value
    whole = base.get(key)
    if float(value.rstrip("%")) == 0:
        raise StageError(stage, f"{key}: got {value!r}; expected above 0%")
    if isinstance(whole, bool) or not isinstance(whole, int):
        if whole is not None:
            raise StageError(stage, f"{key}: got {value!r}; only whole numbers have percentages. Set {key} to a number")
        raise StageError(stage, f"{key}: got {value!r}, a share of the recipe's {key}, which is {whole!r}. Set {key}")
    return max(1, round(float(value.rstrip("%")) / 100 * whole))


def _inside(value: Any, cap: Any, where: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _inside(inner, cap, f"{where}.{key}") for key, inner in value.items()}
    if isinstance(value, list):
        return [_inside(inner, cap, where) for inner in value]
    if not _is_percentage(value):
        return value
    if not isinstance(cap, int):
        raise ConfigError(f"{where}: got {value!r}, a share of max_completion_length, which is {cap!r}. Set it")
    return max(1, round(float(value.rstrip("%")) / 100 * cap))


def _is_percentage(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?%", value) is not None


def _check_shares(shares: list[float], all_of: bool) -> None:
    total = sum(shares)
    if total > 1 + SLACK or (all_of and total < 1 - SLACK):
        raise ConfigError(f"stages: the shares add up to {total:g}; expected 1")
