"""Pools several seeds of one method into one run: finds runs that belong together and joins their records.

`NAME=A,B,C` or `A,B,C` lists them; otherwise runs are pooled if their training configurations (config.yaml of the
training run) or, for one model, their evaluation settings differ only in the seed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tersely.core.errors import ConfigError
from tersely.core.paths import expanded
from tersely.eval.run_arrays import ARRAYS, BenchmarkRecords, RunRecords
from tersely.eval.same_settings import OTHER, differences

OF_A_SEED = ("seed", "data_seed", "run_dir", "run_name", "output_dir", "logging_dir")
"""Keys of a training configuration that may differ between seeds of one method."""


def split_places(text: str) -> tuple[str | None, list[str]]:
    """`NAME=A,B` -> (NAME, [A, B]); an existing path is one item, even with `=` or commas."""
    if Path(whole := expanded(text, "run")).exists():
        return None, [whole]
    name, equals, rest = text.partition("=")
    if not (equals and name) or "/" in name:
        name, rest = "", text
    return name or None, [expanded(part.strip(), "run") for part in rest.split(",") if part.strip()]


def pool_alike(runs: Sequence[RunRecords]) -> list[RunRecords]:
    """Pool runs that differ only in the seed; the pooled run takes the position of its first seed."""
    groups: dict[Any, list[RunRecords]] = {}
    for run in runs:
        key = _kind(run)
        groups.setdefault(id(run) if key is None else key, []).append(run)
    found = []
    for group in groups.values():
        seeds = [_seed(run) for run in group] if len(group) > 1 else []
        alone = len(group) == 1 or len(set(seeds)) < len(seeds) or any(run.members for run in group)
        found += group if alone else [pooled(group)]
    return found


def _config(run: RunRecords) -> dict[str, Any] | None:
    import yaml

    folder = run.training_folder()
    path = folder / "config.yaml" if folder else None
    if path is None or not path.is_file():
        return None
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return None
    return config if isinstance(config, dict) else None


def _model(run: RunRecords) -> str:
    return str(run.card.get("model") or "").partition(" [")[0]


def _kind(run: RunRecords) -> str | None:
    """Key that the seeds of one method share; None if nothing is recorded."""
    settings = run.card.get("settings")
    if not run.benchmarks or not isinstance(settings, dict):
        return None
    skip = {*OTHER, "seed"} - {"strategy"}
    fixed = {
        name: {key: value for key, value in entry.items() if key not in skip}
        for name, entry in settings.items()
        if isinstance(entry, dict)
    }
    config = _config(run)
    kept = {key: value for key, value in config.items() if key not in OF_A_SEED} if config else None
    which = os.path.basename(_model(run).rstrip("/")) if config else run.card.get("model")
    if config is None and which is None:
        return None
    return json.dumps([kept, which, fixed, run.strategy], sort_keys=True, default=str)


def _seed(run: RunRecords) -> Any:
    config = _config(run)
    if config:
        return config.get("seed")
    settings = run.card.get("settings", {})
    return json.dumps([entry.get("seed") for entry in settings.values() if isinstance(entry, dict)])


def pooled(runs: Sequence[RunRecords], name: str | None = None) -> RunRecords:
    """Join the samples of all runs, with the seed of each column. Raises `ConfigError` for different settings."""
    for run in runs[1:]:
        for benchmark in run.benchmarks:
            if found := differences(runs[0], run, benchmark, but=("seed",)):
                raise ConfigError(f"{runs[0].name} and {run.name} cannot be seeds of one run: {'; '.join(found)}")
    _require_distinct(runs)
    shown = f"{name or _shared_name(runs)} ({len(runs)} seeds)"
    benchmarks = {
        benchmark: _side_by_side([run.benchmarks[benchmark] for run in runs])
        for benchmark in runs[0].benchmarks
        if all(benchmark in run.benchmarks for run in runs)
    }
    if not benchmarks:
        raise ConfigError(
            f"{', '.join(run.name for run in runs)} have no common benchmark, so they are not seeds of one run"
        )
    notes = [f"{len(runs)} seeds as one run: {', '.join(_place(run) for run in runs)}"]
    left = sorted({b for run in runs for b in run.benchmarks} - set(benchmarks))
    notes += [f"left out, because not every seed has it: {', '.join(left)}"] if left else []
    return RunRecords(
        shown,
        runs[0].path,
        runs[0].card,
        benchmarks,
        dropped=sum(run.dropped for run in runs),
        duplicates=sum(run.duplicates for run in runs),
        strategy=runs[0].strategy,
        given=runs[0].given,
        folder=runs[0].folder,
        notes=notes,
        members=list(runs),
    )


def _require_distinct(runs: Sequence[RunRecords]) -> None:
    """`ConfigError` for a run that is given twice, also as a copy, because its samples would count as two seeds."""
    for index, run in enumerate(runs):
        for other in runs[:index]:
            if _same_samples(run, other):
                raise ConfigError(
                    f"{_place(other)} and {_place(run)} hold the same samples; expected one run per seed. Leave one of them out"
                )


def _same_samples(run: RunRecords, other: RunRecords) -> bool:
    shared = run.benchmarks.keys() & other.benchmarks.keys()
    return bool(shared) and all(
        run.benchmarks[name].problem_ids == other.benchmarks[name].problem_ids
        and all(
            np.array_equal(getattr(run.benchmarks[name], key), getattr(other.benchmarks[name], key), equal_nan=True)
            for key in ("correct", "tokens")
        )
        for name in shared
    )


def _place(run: RunRecords) -> str:
    return str(run.folder) if run.folder else run.name


def _shared_name(runs: Sequence[RunRecords]) -> str:
    """Common part of the names: `alp` for alp-seed1 and alp-seed2."""
    names = [run.name for run in runs]
    if len(set(names)) > 1:
        start = os.path.commonprefix(names)
        start = re.sub(r"[-_. (=]*(seeds?|s)?[-_. (=]*$", "", start)
        return start or names[0]
    return names[0]


def _side_by_side(parts: list[BenchmarkRecords]) -> BenchmarkRecords:
    ids = list(dict.fromkeys(problem for part in parts for problem in part.problem_ids))
    levels: dict[str, str | None] = {}
    columns: dict[str, list[np.ndarray]] = {key: [] for key in ARRAYS}
    for part in parts:
        levels |= dict(zip(part.problem_ids, part.levels, strict=True))
        where = {problem: i for i, problem in enumerate(ids)}
        rows = np.array([where[problem] for problem in part.problem_ids], dtype=np.int64)
        for key in ARRAYS:
            part_values = getattr(part, key)
            empty = None if key == "answers" else -1 if key == "offset" else np.nan
            whole = np.full((len(ids), part_values.shape[1]), empty, dtype=part_values.dtype)
            whole[rows] = part_values
            columns[key].append(whole)
    finishes: dict[str, list[float]] = {}
    for part in parts:
        for finish, cell in part.finishes.items():
            finishes[finish] = [a + b for a, b in zip(finishes.get(finish, [0] * 4), cell, strict=True)]
    return BenchmarkRecords(
        ids,
        [levels[problem] for problem in ids],
        **{key: np.concatenate(found, axis=1) for key, found in columns.items()},
        estimated=sum(part.estimated for part in parts),
        finishes=finishes,
        seeds=np.repeat(np.arange(len(parts)), [part.correct.shape[1] for part in parts]),
    )
