"""Writes report.json, report.md and report.html for a list of runs; the command is in `launch/cli/report.py`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tersely.eval.run_arrays import RunRecords


def write_report(
    runs: Sequence[RunRecords | str | Path],
    base: str | Path | None,
    out_dir: str | Path,
    refresh: int | None = None,
    margin: float = 0.01,
    anyway: bool = False,
) -> Path:
    """Write report.json, report.md and report.html to out_dir; returns the path of report.json.

    runs: loaded runs, or run directories with records.jsonl (each may have several runs: one per decoding strategy).
    base: the name of one of the runs, or its directory (loaded if it is not among them); None takes the first run if
    there are several. refresh: interval in seconds at which an open report.html reloads. margin: non-inferiority margin, a
    fraction. Runs that differ only in the seed are one row. Raises ValueError without runs, for an unknown base, and for
    evaluations with different settings, unless `anyway`, which lists the differences on the page.
    """
    from tersely.eval.report.data import report_data
    from tersely.eval.report.html import html
    from tersely.eval.report.markdown import markdown
    from tersely.eval.seed_runs import pool_alike

    loaded = load_all(runs)
    if base is None:
        loaded = with_unique_names(pool_alike(loaded))
        reference = choose_base(loaded, base)
    else:
        reference = choose_base(loaded, base)
        loaded = [
            *([reference] if reference else []),
            *with_unique_names(pool_alike([run for run in loaded if run is not reference])),
        ]
    loaded.sort(key=lambda run: run.strategy is not None)  # decoding strategies after their models
    data = report_data(loaded, reference, margin, anyway)
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "report.json", json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_whole(out / "report.md", markdown(data))
    write_whole(out / "report.html", html(data, loaded, reference, refresh))
    return out / "report.json"


def write_whole(path: Path, text: str) -> None:
    """Write atomically: to a temporary file, then rename it."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8", errors="backslashreplace")
    part.replace(path)


def load_all(runs: Sequence[RunRecords | str | Path]) -> list[RunRecords]:
    """Load runs and make their names unique; `NAME=A,B` and `A,B` are several seeds of one run."""
    loaded = [found for run in runs for found in _loaded(run)]
    if not loaded:
        raise ValueError("runs: got an empty list; expected at least one run directory with records.jsonl")
    return with_unique_names(loaded)


def _loaded(run: RunRecords | str | Path) -> list[RunRecords]:
    from tersely.eval.run_arrays import RunRecords, load_runs
    from tersely.eval.seed_runs import pooled, split_places

    if isinstance(run, RunRecords):
        return [run]
    name, places = split_places(str(run))
    if len(places) < 2:
        found = load_runs(places[0] if places else run)
        for one in found if name else []:
            one.name = one.name.replace(one.name.partition(" + ")[0], str(name), 1)
        return found
    seeds: dict[str | None, list[RunRecords]] = {}
    for place in places:
        for one in load_runs(place):
            seeds.setdefault(one.strategy, []).append(one)
    return [
        pooled(group, name and name + (f" + {strategy}" if strategy else "")) if len(group) > 1 else group[0]
        for strategy, group in seeds.items()
    ]


def with_unique_names(loaded: list[RunRecords]) -> list[RunRecords]:
    """Rename runs with equal names, by the part of their folders that differs, or else by number."""
    for name in dict.fromkeys(run.name.partition(" + ")[0] for run in loaded):
        group = [run for run in loaded if run.name.partition(" + ")[0] == name]
        folders = list(dict.fromkeys(run.folder.resolve() for run in group if run.folder))
        labels = _labels(folders)
        if len({run.name for run in group}) == len(group) or not labels:
            continue
        by_folder = all(folder.name == name for folder in folders)  # the default name
        for run in group:
            folder = run.folder.resolve() if run.folder else None
            label = labels.get(folder) if folder else None
            if label and (by_folder or folder != folders[0]):
                shown = f"{label}/{name}" if by_folder else f"{name} ({label})"
                run.notes.append(f"named {run.name} in its records, the same name as another run")
                run.name = shown + run.name[len(name) :]
    seen: set[str] = set()
    for run in loaded:
        name, number = run.name, 2
        while run.name in seen:
            run.name, number = f"{name} ({number})", number + 1
        seen.add(run.name)
    return loaded


def _labels(folders: list[Path]) -> dict[Path, str]:
    """For each folder, the last part of its path that differs between all of them; empty for one folder."""
    parts = [folder.parts for folder in folders]
    for depth in range(1, min((len(p) for p in parts), default=0) + 1):
        ends = [p[-depth] for p in parts]
        if len(folders) > 1 and len(set(ends)) == len(ends):
            return dict(zip(folders, ends, strict=True))
    return {}


def choose_base(loaded: list[RunRecords], base: str | Path | None) -> RunRecords | None:
    """The base run; a directory that is not among the loaded runs is loaded and put first."""
    if base is None:
        return next((run for run in loaded if run.strategy is None), loaded[0]) if len(loaded) > 1 else None
    wanted = str(base)
    for run in loaded:
        if run.name in (wanted, f"{wanted} ({len(run.members)} seeds)") or run.name.endswith(f"/{wanted}"):
            return run
    for run in loaded:
        if run.folder is not None and run.strategy is None and not run.members and _same(run.folder, wanted):
            return run
    if Path(base).exists() or "," in wanted:
        loaded[:0] = (added := load_all([base]))
        with_unique_names(loaded)
        return added[0]
    raise ValueError(f"base: got {wanted!r}; expected a run directory or one of {', '.join(r.name for r in loaded)}")


def _same(folder: Path, wanted: str) -> bool:
    return Path(wanted).exists() and Path(wanted).resolve() in (folder.resolve(), (folder / "eval").resolve())
