"""Reads the rows of a source as plain mappings: hub, local file or folder, testbed, reasoning-gym."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tersely.configs.dataset import COMPRESSIONS, LOCAL_SUFFIXES, OWN, SourceSpec, file_kind
from tersely.core.errors import nearest, typed
from tersely.core.paths import beside
from tersely.data.files import read_file, read_saved_folder, require_whole, saved_folder, slice_of
from tersely.data.load_report import DataError

DEFAULT_COUNT = 1000
"""Problems of a procedural source without `limit`."""

_SPLIT_OFFSET = {"train": 0, "validation": 1_000_000_000, "test": 2_000_000_000}


def read_rows(source: SourceSpec, seed: int, columns: Sequence[str] = ()) -> Iterator[Mapping[str, Any]]:
    """The rows of a source in order; only procedural sources use `seed`. `columns`: additional columns to read.

    Raises `DataError` if the file, the hub id, the configuration or the split does not exist.
    """
    path = str(source.path)
    if path == "testbed":
        yield from _testbed(source, seed)
    elif path.startswith("reasoning_gym:"):
        yield from _reasoning_gym(source, seed)
    elif file_kind(path) or Path(path).is_file() or saved_folder(Path(path)):
        yield from _local_file(source)
    elif path.startswith(("/", "./", "../")) and not Path(path).exists():
        raise DataError(f"dataset {source.label}: no such file or folder: {path}; {beside(Path(path))}")
    else:
        yield from _hub(source, columns)


def _local_file(source: SourceSpec) -> Iterator[Mapping[str, Any]]:
    path = Path(str(source.path))
    where = f"dataset {source.label}"
    if path.is_dir() and not saved_folder(path):
        raise DataError(f"{where}: {path} is a folder; expected a file, or a folder whose name has no file suffix")
    if not path.exists():
        found = path.parent.glob("*") if path.parent.is_dir() else ()
        near = [item.name for item in found if file_kind(item)][:50]
        hint = nearest(path.name, near) if near else f"the folder {path.parent} has no such file, or does not exist"
        raise DataError(f"dataset {source.label}: no such file: {path}; {hint}")
    try:
        if not path.is_dir():
            require_whole(path, source.split, where)
        if path.is_dir():
            yield from read_saved_folder(path, source.split, where)
        elif "[" in source.split:
            rows = list(read_file(path, where))
            yield from rows[slice(*slice_of(source.split, len(rows), where))]
        else:
            yield from read_file(path, where)
    except DataError:
        raise
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1 if path.suffix not in COMPRESSIONS else "?"
        raise DataError(
            f"{where}: {path} cannot be read as UTF-8, about line {line} ({error.reason}). Save it as UTF-8. The file may "
            "also be truncated: compare its size with the original"
        ) from error
    except (ValueError, OSError, EOFError) as error:  # covers the errors of Arrow, JSON and Unicode
        raise DataError(
            f"dataset {source.label}: {path} cannot be read ({error}). The file may be truncated: compare its size with "
            "the original"
        ) from error


def _hub(source: SourceSpec, columns: Sequence[str] = ()) -> Iterator[Mapping[str, Any]]:
    configs = source.config if isinstance(source.config, list) else [source.config]
    for config in configs:
        data = _load_hub(source, config)
        data = data.select_columns(_columns_read(source, data.column_names, columns)).with_format("arrow")
        for table in data.iter(batch_size=1024):  # row by row costs twice as much, and DAPO has 1.8 million rows
            yield from table.to_pylist()


def _columns_read(source: SourceSpec, there: list[str], columns: Sequence[str] = ()) -> list[str]:
    """The top-level columns to read, so that unused columns (such as traces of 16k tokens per row) are not decoded.

    All columns if a named drop or a scorer reads the whole row, or if one is missing, so that the error can list the
    existing ones.
    """
    mapped = {"problem": "problem", "answer": "answer", **source.columns}.values()
    paths = [piece for path in mapped for piece in (path if isinstance(path, list) else [path])]
    paths = [str(path) for path in [*paths, *source.filter, *source.choices, *set(columns).difference(OWN)]]
    scoring = source.scoring
    if scoring is not None:
        paths += scoring.columns or []
    wanted = {path if path in there else path.split(".", 1)[0] for path in paths}
    whole = source.drop or (scoring is not None and scoring.columns is None)
    if whole or not wanted <= set(there):
        return there
    return [name for name in there if name in wanted or name in ("level", "family")]


def _require_one_kind(folder: Path, where: str) -> None:
    """Raise `DataError` for a folder without data files, or with files of several kinds (only one would be read).

    A .json file next to another kind counts as metadata. A README.md may configure which files are data.
    """
    kinds = {kind for path in folder.rglob("*") if path.is_file() and (kind := file_kind(path))}
    if not kinds and not any(folder.rglob("*.arrow")):
        raise DataError(
            f"{where}: the folder {folder} has no data file; expected files with {', '.join(LOCAL_SUFFIXES)}. "
            "Choose another folder, or one file"
        )
    if len(kinds - {".json"}) > 1 and not (folder / "README.md").exists():
        raise DataError(
            f"{where}: the folder {folder} has files of several kinds ({', '.join(sorted(kinds))}); expected one kind. "
            "Choose one file, or a folder with one kind"
        )


def _load_hub(source: SourceSpec, config: str | None) -> Any:
    import datasets

    where = f"dataset {source.label} ({source.path}{', ' + config if config else ''}, split {source.split})"
    if Path(str(source.path)).is_dir():
        _require_one_kind(Path(str(source.path)), where)
    try:
        return datasets.load_dataset(str(source.path), config, split=source.split, revision=source.revision)
    except (datasets.exceptions.DatasetNotFoundError, FileNotFoundError) as error:
        raise DataError(
            f"{where}: neither on the hub nor a local folder ({error}). Check the id; for a gated dataset run "
            "`huggingface-cli login` and accept its terms; a local file needs its suffix (.jsonl, .parquet)"
        ) from error
    except ValueError as error:
        # For unknown configurations and splits, the message of `datasets` lists the valid ones.
        raise DataError(f"{where}: {error}") from error
    except (ConnectionError, OSError) as error:
        raise DataError(
            f"{where}: the hub cannot be reached ({type(error).__name__}: {error}). On a machine without network, "
            f"save the dataset first and override `path`: {{name: {source.label}, path: copy.parquet}}"
        ) from error


def _testbed(source: SourceSpec, seed: int) -> Iterator[Mapping[str, Any]]:
    from tersely.testbed.families.problems import problems

    kinds: dict[str, Any] = {"levels": list[int], "families": list[str]}
    for key in source.parameters:
        if key not in kinds:
            raise DataError(f"dataset testbed: parameters: unknown key {key!r}; {nearest(key, kinds)}")
    chosen = {
        key: typed(value, kinds[key], f"dataset testbed: parameters: {key}")
        for key, value in source.parameters.items()
        if value is not None
    }
    try:
        items = problems(source.split, source.limit or DEFAULT_COUNT, seed, **chosen)
    except ValueError as error:
        raise DataError(f"dataset testbed: {error}") from error
    for item in items:
        yield {name: value for name, value in item.items() if name != "id"}


def _reasoning_gym(source: SourceSpec, seed: int) -> Iterator[Mapping[str, Any]]:
    """An item is a function of (seed + index), so the seeds of the splits are 10^9 apart."""
    try:
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    except ImportError as error:
        raise DataError(f"dataset {source.label} needs reasoning-gym: pip install reasoning-gym ({error})") from error
    task = str(source.path).partition(":")[2]
    if task not in DATASETS:
        raise DataError(f"dataset {source.label}: unknown reasoning-gym task {task!r}; {nearest(task, DATASETS)}")
    if source.split not in _SPLIT_OFFSET:
        raise DataError(f"dataset {source.label}: split: got {source.split!r}; {nearest(source.split, _SPLIT_OFFSET)}")
    count = source.limit or DEFAULT_COUNT
    start = _SPLIT_OFFSET[source.split] + (seed % 1000) * 1_000_000
    if count > 1_000_000:
        raise DataError(f"dataset {source.label}: limit: got {count}; expected at most 1000000 problems per split")
    try:
        data = reasoning_gym.create_dataset(task, seed=start, size=count, **source.parameters)
    except (TypeError, AssertionError) as error:
        raise DataError(f"dataset {source.label}: parameters {source.parameters}: {error}") from error
    for item in data:
        difficulty = (item.get("metadata") or {}).get("difficulty")
        if isinstance(difficulty, Mapping):
            difficulty = next(iter(difficulty.values())) if len(difficulty) == 1 else None
        yield {
            "problem": item["question"],
            "answer": item["answer"],
            "level": difficulty if isinstance(difficulty, int | float | str) else None,
            "metadata": item.get("metadata") or {},
            "task": task,
            "parameters": source.parameters,
        }
