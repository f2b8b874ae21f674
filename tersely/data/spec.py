"""The `dataset:` section of a recipe as a checked dataclass; shipped entries are YAML files with the same keys.

dataset: {name: gsm8k}
dataset: {path: my/problems.jsonl, columns: {problem: question, answer: gold}, filter: {level: {at_most: 3}}}
dataset:
  - {name: deepscaler, weight: 3}
  - {path: reasoning_gym:gsm_symbolic, limit: 2000, weight: 1}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from tersely.core.errors import ConfigError, check_fields, nearest, require_choice, require_range
from tersely.core.paths import expanded

INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."
"""What a problem is followed by unless the spec says otherwise: the sentence DeepSeek-R1 is used with."""

LOCAL_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
OWN = ("problem", "answer", "level", "source")
"""Columns that every loaded problem has; `level` may be null."""
COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")


def file_kind(path: str | Path) -> str | None:
    """The suffix that says how a file is read, a compression suffix left out; None for anything else."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    if len(suffixes) > 1 and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in LOCAL_SUFFIXES else None


@dataclass(frozen=True)
class SourceSpec:
    """One source of problems.

    A column is a name or a dotted path into nested rows (`reward_model.ground_truth`, `prompt.0.content`).
    """

    name: str | None = None
    """A ready-made entry; the other keys then override it."""
    path: str | None = None
    """A hub id, a file (LOCAL_SUFFIXES, also compressed), a folder, `testbed`, or `reasoning_gym:<task>`."""
    config: str | list[str] | None = None
    """The hub configuration; a list is read one after the other."""
    split: str = "train"
    revision: str | None = None
    columns: dict[str, Any] = field(default_factory=dict)
    """Ours -> theirs, for `problem`, `answer` and, where there is one, `level`; a list of columns is joined by blanks."""
    choices: list[str] = field(default_factory=list)
    """Columns of the wrong options of a multiple-choice set, whose `answer` column holds the right one: the problem
    then ends with lettered options, shuffled by a hash of the problem, and the answer is the letter."""
    transform: dict[str, Any] = field(default_factory=dict)
    """Ours -> a named extractor or a list of them, see extract.py."""
    filter: dict[str, Any] = field(default_factory=dict)
    """Their column -> condition, see filters.py."""
    drop: list[str] = field(default_factory=list)
    """Named reasons to drop a row, see filters.py."""
    weight: float | None = None
    """Share of this source in a mix."""
    limit: int | None = None
    """At most so many rows, drawn by the seed; the number to make for a procedural source."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Of a procedural source."""
    seed: int | None = None
    """Replaces the run's seed for this source: a test set stays the same whatever the run's seed is."""
    instruction: str | None = None
    bad_golds: str = "error"
    """A gold that cannot be parsed stops the load, or (`drop`) drops the row and is counted."""
    max_bad_golds: float = 0.02
    """With `drop`: more than this share of bad golds stops the load all the same."""
    expect_rows: list[int] = field(default_factory=list)
    """Row counts this source is known to have; another count is an error (`exact_rows`) or a note."""
    exact_rows: bool = False
    keep_duplicates: bool = False
    """Only for benchmarks, whose published number of items includes their duplicates."""
    about: str | None = None
    pitfalls: list[str] = field(default_factory=list)
    """Notes for readers, one sentence each."""

    def __post_init__(self) -> None:
        where = f"dataset {self.label}"
        require_range(f"{where}: weight", self.weight, above=0)
        require_range(f"{where}: limit", self.limit, at_least=1)
        require_range(f"{where}: max_bad_golds", self.max_bad_golds, at_least=0, at_most=1)
        require_choice(f"{where}: bad_golds", self.bad_golds, ("error", "drop"))
        for group in ("columns", "transform"):
            for key in getattr(self, group):
                require_choice(f"{where}: {group}", key, ("problem", "answer", "level"))

    @property
    def label(self) -> str:
        """What the `source` column and messages call it."""
        return self.name or self.path or "?"

    @property
    def identity(self) -> str:
        """What prompt ids are made with: the label, and of a local file its name alone, wherever it lies."""
        path = Path(self.path or "?")
        return self.name or (path.name if file_kind(path) else str(self.path))

    @property
    def local(self) -> bool:
        """A file or folder of this disk, as its name tells, or because it is there."""
        path = self.path or ""
        return bool(file_kind(path)) or path.startswith(("/", "./", "../")) or Path(path).exists()

    @property
    def procedural(self) -> bool:
        return self.path == "testbed" or (self.path or "").startswith("reasoning_gym:")


def entry_names(kind: str = "datasets") -> list[str]:
    """The ready-made entries of `configs/datasets` or `configs/benchmarks`."""
    folder = resources.files("tersely.configs").joinpath(kind)
    return sorted(Path(item.name).stem for item in folder.iterdir() if item.name.endswith(".yaml"))


def read_entry(name: str, kind: str = "datasets") -> dict[str, Any]:
    """The mapping of a ready-made entry. Raises `ConfigError` with the valid names for an unknown one."""
    import yaml

    names = entry_names(kind)
    if name not in names:
        raise ConfigError(
            f"there is no ready-made entry {name!r} in {kind}; {nearest(name, names)}. "
            "For data of your own write {path: file.jsonl or a hub id, columns: {problem: ..., answer: ...}}"
        )
    text = resources.files("tersely.configs").joinpath(kind, f"{name}.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def parse_sources(spec: Any, kind: str = "datasets") -> list[SourceSpec]:
    """One mapping, a bare entry name or path, or a list of them -> checked sources.

    Raises `ConfigError` for unknown keys or entries, wrong types, and an empty list.
    """
    if isinstance(spec, SourceSpec):
        return [spec]
    if isinstance(spec, Sequence) and not isinstance(spec, str):
        if not spec:
            raise ConfigError("dataset is an empty list; name at least one source, for example {name: gsm8k}")
        sources = [source for item in spec for source in parse_sources(item, kind)]
        return sources
    return [_parse_one(spec, kind)]


def _parse_one(spec: Any, kind: str) -> SourceSpec:
    if isinstance(spec, str):
        spec = (
            {"name": spec}
            if spec in entry_names(kind)
            else {"path": spec}
            if _looks_like_path(spec)
            else {"name": spec}
        )
    if not isinstance(spec, Mapping):
        raise ConfigError(f"dataset is {spec!r}; write a mapping such as {{name: gsm8k}}, or a list of them")
    values = {str(key): value for key, value in spec.items()}
    if isinstance(values.get("name"), str) and (values["name"] in entry_names(kind) or "path" not in values):
        values = merged(read_entry(values["name"], kind), values)
    if not values.get("path"):
        raise ConfigError(
            f"dataset {dict(spec)!r} has neither `name` (a ready-made entry: {', '.join(entry_names(kind))}) nor `path`"
        )
    where = f"dataset {values.get('name') or values['path']}"
    fields = check_fields(SourceSpec, values, where=where)
    return SourceSpec(**{**fields, "path": expanded(fields["path"], where)})


def merged(entry: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The entry with the given keys laid over it; mappings are merged one level deep, all else is replaced."""
    result = dict(entry)
    for key, value in given.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = {**result[key], **value} if both else value
    if given.get("path") not in (None, entry.get("path")):
        # A copy of one's own: the published count and version are the original's.
        for key in ("expect_rows", "exact_rows", "revision", *(["split"] if file_kind(str(given["path"])) else [])):
            if key not in given:
                result.pop(key, None)
    return result


def _looks_like_path(text: str) -> bool:
    return text == "testbed" or any(mark in text for mark in ("/", ":", *LOCAL_SUFFIXES))
