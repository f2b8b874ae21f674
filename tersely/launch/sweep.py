"""Sweeps: the runs of `--seeds 1,2 --sweep reward.beta=0.1,0.2`, each named after its values.

An axis is a key with its values. Commas separate values; a comma inside brackets or quotes is part of a value. A list for
a single key (`--reward.beta 0.1,0.2`) is an axis too.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tersely.configs.load import SLOT_KEYS, with_overrides
from tersely.configs.overrides import is_text, parse_value, split_values, unquoted
from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError

NOT_SWEPT = ("run_dir", "run_name", "output_dir", "env")
LONGEST_NAME = 80
"""Maximum characters of one key and value in a folder name."""


@dataclass(frozen=True)
class Axis:
    key: str
    texts: tuple[str, ...]
    """The values as typed."""


@dataclass(frozen=True)
class Variant:
    """One run of a sweep: its name and overrides."""

    name: str
    """Folder of the run below the recipe's run_dir; "" without a sweep."""
    words: tuple[str, ...]
    """Arguments for `tersely train` in addition to the user's."""
    recipe: Recipe


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", metavar="1,2,3", help="one run per seed")
    parser.add_argument(
        "--sweep", action="append", default=[], metavar="KEY=A,B", help="one run per value of a key; can be repeated"
    )


def split_axes(words: Sequence[str]) -> tuple[list[str], list[Axis]]:
    """(arguments without axes, axes): `--reward.beta 0.1,0.2` is an axis, `--instruction "First, think."` is not."""
    rest: list[str] = []
    axes: list[Axis] = []
    position = 0
    while position < len(words):
        key, found, value = words[position].partition("=")
        taken = 1
        if not found and position + 1 < len(words) and not words[position + 1].startswith("--"):
            value, taken = words[position + 1], 2
        if key.startswith("--") and len(parts := _list(key[2:], value)) > 1:
            axes.append(Axis(key[2:], tuple(parts)))
        else:
            rest += words[position : position + taken]
        position += taken
    return rest, axes


def require_single_values(words: Sequence[str]) -> None:
    """Raise for a list of values: only the launchers run sweeps."""
    for axis in split_axes(words)[1]:
        raise ConfigError(
            f"--{axis.key}: got {len(axis.texts)} values ({', '.join(axis.texts)}), and tersely train is one run. Use "
            "`tersely launch local` or `tersely launch slurm`, which start one run per value"
        )


def _list(key: str, text: str) -> list[str]:
    if "," not in text or (is_text(key) and key != "method"):
        return []
    try:
        parts = split_values(text)
    except ConfigError:
        return []  # a single value; the YAML parser reports the error
    by_name = key in SLOT_KEYS or key == "method" or "." in key
    plain = [part for part in parts if part[:1] not in ("{", "[")]
    outside = text
    for part in set(parts).difference(plain):
        outside = outside.replace(part, "")
    if not all(parts) or any(re.search(r"\s", part) for part in plain) or re.search(r",\s", outside) and plain:
        return []
    return parts if by_name or not plain or all(_is_number(part) for part in parts) else []


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def axes_of(options: argparse.Namespace, found: Sequence[Axis] = ()) -> list[Axis]:
    """Axes of `--seeds`, `--sweep` and single keys. Raises `ConfigError` for one that is not a list or is given twice."""
    axes = []
    if options.seeds:
        seeds = split_values(options.seeds)
        if not all(re.fullmatch(r"\d+", seed) for seed in seeds):
            raise ConfigError(f"--seeds: got {options.seeds!r}; expected whole numbers such as 1,2,3")
        axes.append(Axis("seed", tuple(str(int(seed)) for seed in seeds)))
    for sweep in options.sweep:
        key, found_value, values = sweep.partition("=")
        texts = split_values(values)
        if not found_value or not all(texts):
            raise ConfigError(f"--sweep: got {sweep!r}; expected KEY=A,B such as learning_rate=1e-6,2e-6")
        axes.append(Axis(key.strip(), tuple(texts)))
    axes += found
    keys = [axis.key for axis in axes]
    for key in keys:
        if keys.count(key) > 1:
            raise ConfigError(
                f"{key}: swept twice, by {' and '.join(_as_option(axis) for axis in axes if axis.key == key)}. Give all values "
                "in one option"
            )
        if key in NOT_SWEPT:
            raise ConfigError(
                f"{key}: cannot be swept, because each run of a sweep gets its setting folder below run_dir"
            )
    return axes


def _as_option(axis: Axis) -> str:
    return f"{axis.key}={','.join(axis.texts)}"


def variants(
    recipe: Recipe,
    axes: Sequence[Axis],
    stated: Mapping[str, Any],
    tell: Callable[[str], None] | None = None,
) -> list[Variant]:
    """Every combination of the axes. `recipe`: the resolved recipe; `stated`: the command-line overrides in it."""
    if not axes:
        return [Variant("", (), recipe)]
    for axis in axes:
        if axis.key in stated:
            raise ConfigError(f"{axis.key}: given as --{axis.key} and swept by {_as_option(axis)}. Give it once")
    run_dir, run_name = Path(recipe.run_dir), recipe.trl.get("run_name")
    found: list[Variant] = []
    seen: dict[str, tuple[str, ...]] = {}
    resolved: dict[str, tuple[str, ...]] = {}
    notes: list[str] = []
    for texts in itertools.product(*(axis.texts for axis in axes)):
        pairs = [(axis.key, unquoted(axis.key, text)) for axis, text in zip(axes, texts, strict=True)]
        values = {key: parse_value(key, text) for key, text in pairs}
        same = repr([(key, _plain(value)) for key, value in values.items()])
        if same in seen:
            raise ConfigError(f"the sweep has the same run twice: {_pairs(axes, seen[same])} and {_pairs(axes, texts)}")
        seen[same] = texts
        name = "-".join(_label(key, text, values[key]) for key, text in pairs)
        if name in [variant.name for variant in found]:
            name += "-" + hashlib.sha256(same.encode()).hexdigest()[:6]
        if run_name:
            values["run_name"] = f"{run_name}-{name}"
            pairs = [*pairs, ("run_name", values["run_name"])]
        task = with_overrides(recipe.to_dict(), {**stated, **values}, notes.append)
        _require_effect(task, [axis.key for axis in axes])
        whole = repr(_plain({key: value for key, value in task.items() if key not in ("method", *NOT_SWEPT)}))
        if whole in resolved:
            raise ConfigError(
                f"{_pairs(axes, resolved[whole])} and {_pairs(axes, texts)} resolve to the same recipe, so both runs "
                "would be identical. Remove one of them, or the option that overrides the difference"
            )
        resolved[whole] = texts
        folder = str(run_dir / name)
        words = [f"--{key}={text}" for key, text in [*pairs, ("run_dir", folder)]]
        found.append(Variant(name, tuple(words), Recipe.of({**task, "run_dir": folder})))
    if tell is not None:
        for line in dict.fromkeys(notes):
            tell(line)
    return found


def _pairs(axes: Sequence[Axis], texts: Sequence[str]) -> str:
    return ", ".join(f"{axis.key}={text}" for axis, text in zip(axes, texts, strict=True))


def _plain(value: Any) -> Any:
    """The value in comparable form: `1e-6` and `0.000001` are equal."""
    if isinstance(value, Mapping):
        return sorted((str(key), _plain(inner)) for key, inner in value.items())
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, str | int | float) and not isinstance(value, bool) and _is_number(str(value)):
        return float(value)
    return value


def _label(key: str, text: str, value: Any) -> str:
    """Folder name such as `reward.beta_0.1`. A whole number is written as parsed: YAML reads 010 as 8."""
    shown = str(value) if isinstance(value, int) and not isinstance(value, bool) else text
    word = re.sub(r"[^A-Za-z0-9.+]+", "_", shown)
    word = word.strip("_") if shown[:1] in "{[\"'" else word
    if len(word) > LONGEST_NAME:
        word = word[:LONGEST_NAME] + "_" + hashlib.sha256(shown.encode()).hexdigest()[:6]
    return f"{key}_{word}"


def _require_effect(recipe: Mapping[str, Any], keys: Sequence[str]) -> None:
    """Raise if a stage sets a swept key: the run's name would show a value that is not used."""
    stages = [stage for stage in recipe.get("stages") or [] if isinstance(stage, Mapping)]
    for key in (key.partition(".")[0] for key in keys):
        setting = [str(s.get("name")) for s in stages if key in s or key in (s.get("settings") or {})]
        if setting and key not in ("stages", "method") and (key == "seed" or len(setting) == len(stages)):
            raise ConfigError(
                f"{key}: swept, but stage {', '.join(setting)} sets {key} too, so the swept value has no effect there. "
                f"Remove {key} from the stage"
            )
