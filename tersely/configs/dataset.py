"""The `dataset:` section of a recipe as a checked dataclass; shipped datasets are YAML files with the same keys.

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

from tersely.configs.scorer import ScorerSpec
from tersely.core.errors import ConfigError, check_fields, nearest, require_choice, require_mapping, require_range
from tersely.core.paths import expanded

INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."
"""Default instruction after a problem: the sentence that DeepSeek-R1's authors recommend."""

LOCAL_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
OWN = ("problem", "answer", "level", "source")
"""Columns of every loaded problem; `level` may be null."""
COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")


def file_kind(path: str | Path) -> str | None:
    """The suffix that determines the file format, without a compression suffix; None for an unknown one."""
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
    """A shipped dataset; the other keys override its values."""
    path: str | None = None
    """A hub id, a file (.jsonl, .json, .csv, .tsv, .parquet, also compressed), a folder, `testbed`,
    or `reasoning_gym:<task>`."""
    config: str | list[str] | None = None
    """Hub configuration; the configurations of a list are concatenated."""
    split: str = "train"
    """Split of a hub dataset or of a shipped one."""
    revision: str | None = None
    """Commit, tag or branch of a hub dataset."""
    columns: dict[str, Any] = field(default_factory=dict)
    """Our name (`problem`, `answer`, optionally `level`) -> source column; a list of columns is joined by blanks."""
    choices: list[str] = field(default_factory=list)
    """Columns with the incorrect options of a multiple-choice set; the `answer` column has the correct one. The problem
    then ends with lettered options, shuffled by a hash of the problem, and the answer is the letter."""
    transform: dict[str, Any] = field(default_factory=dict)
    """Our name -> a named extractor or a list of them, see `tersely.data.extract`."""
    filter: dict[str, Any] = field(default_factory=dict)
    """Source column -> condition, see `tersely.data.filters`."""
    drop: list[str] = field(default_factory=list)
    """Named reasons to drop a row, see `tersely.data.filters`."""
    weight: float | None = None
    """Share of this source in a mix."""
    limit: int | None = None
    """Maximum number of rows, sampled with the seed; for a procedural source, the number of problems."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Parameters of a procedural source."""
    seed: int | None = None
    """Replaces the run's seed for this source, so that a test set does not change with the run's seed."""
    instruction: str | None = None
    """Instruction after each problem; the recipe's `instruction` replaces it."""
    scorer: str | dict[str, Any] | None = None
    """What grades the answers: `verifier` (compares with `answer`), `testbed`, `reasoning_gym`, `package.module:function`, or
    a mapping of name, threshold and columns, see `tersely.configs.scorer`. The default is the own scorer of `testbed` and
    of the tasks of reasoning-gym."""
    bad_golds: str = "error"
    """A reference answer that cannot be parsed is an error, or (`drop`) its row is dropped and counted."""
    max_bad_golds: float = 0.02
    """With `drop`: a larger share of bad reference answers is an error."""
    expect_rows: list[int] = field(default_factory=list)
    """Known row counts of this source; any other count is an error (`exact_rows`) or a note."""
    exact_rows: bool = False
    """With `expect_rows`: any other count is an error."""
    keep_duplicates: bool = False
    """Only for benchmarks: their published number of items includes duplicates."""
    about: str | None = None
    """One sentence about the source, for readers."""
    pitfalls: list[str] = field(default_factory=list)
    """Notes for readers, one sentence each."""

    def __post_init__(self) -> None:
        where = f"dataset {self.label}"
        require_range(f"{where}: weight", self.weight, above=0)
        require_range(f"{where}: limit", self.limit, at_least=1)
        require_range(f"{where}: max_bad_golds", self.max_bad_golds, at_least=0, at_most=1)
        require_choice(f"{where}: bad_golds", self.bad_golds, ("error", "drop"))
        ScorerSpec.of(self.scorer, where)
        for group in ("columns", "transform"):
            for key in getattr(self, group):
                require_choice(f"{where}: {group}", key, ("problem", "answer", "level"))

    @property
    def label(self) -> str:
        """Name of the source in the `source` column and in messages."""
        return self.name or self.path or "?"

    @property
    def scoring(self) -> ScorerSpec | None:
        """The scorer of this source; None if the verifier compares its answers."""
        return ScorerSpec.of_source(self.scorer, self.path, f"dataset {self.label}")

    @property
    def identity(self) -> str:
        """Name that prompt ids are made with: the label; for a local file, the file name without its folder."""
        path = Path(self.path or "?")
        return self.name or (path.name if file_kind(path) else str(self.path))

    @property
    def local(self) -> bool:
        """True for a local file or folder, judged by its suffix or its existence."""
        path = self.path or ""
        return bool(file_kind(path)) or path.startswith(("/", "./", "../")) or Path(path).exists()

    @property
    def procedural(self) -> bool:
        return self.path == "testbed" or (self.path or "").startswith("reasoning_gym:")


def entry_names(kind: str = "datasets") -> list[str]:
    """Names of the shipped entries of `configs/datasets` or `configs/benchmarks`."""
    folder = resources.files("tersely.configs").joinpath(kind)
    return sorted(Path(item.name).stem for item in folder.iterdir() if item.name.endswith(".yaml"))


def read_entry(name: str, kind: str = "datasets") -> dict[str, Any]:
    """The mapping of a shipped entry. Raises `ConfigError` with the nearest match for an unknown name."""
    import yaml

    names = entry_names(kind)
    if name not in names:
        raise ConfigError(
            f"unknown name {name!r} in {kind}; {nearest(name, names)}. "
            "For other data write {path: file.jsonl or a hub id, columns: {problem: ..., answer: ...}}"
        )
    text = resources.files("tersely.configs").joinpath(kind, f"{name}.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def parse_sources(spec: Any, kind: str = "datasets") -> list[SourceSpec]:
    """Parse a mapping, a name or path, or a list of them into checked sources.

    Raises `ConfigError` for unknown keys or entries, wrong types, and an empty list.
    """
    if isinstance(spec, SourceSpec):
        return [spec]
    if isinstance(spec, Sequence) and not isinstance(spec, str):
        if not spec:
            raise ConfigError("dataset: got an empty list; expected at least one source, for example {name: gsm8k}")
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
    require_mapping("dataset", spec, "{name: gsm8k}, or a list of them")
    values = {str(key): value for key, value in spec.items()}
    if isinstance(values.get("name"), str) and (values["name"] in entry_names(kind) or "path" not in values):
        values = merged(read_entry(values["name"], kind), values)
    if not values.get("path"):
        raise ConfigError(
            f"dataset: got {dict(spec)!r}; expected `path` or `name` (one of {', '.join(entry_names(kind))})"
        )
    where = f"dataset {values.get('name') or values['path']}"
    fields = check_fields(SourceSpec, values, where=where)
    return SourceSpec(**{**fields, "path": expanded(fields["path"], where)})


def merged(entry: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The entry with the given keys; mappings are merged one level deep, other values are replaced."""
    result = dict(entry)
    for key, value in given.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = {**result[key], **value} if both else value
    if given.get("path") not in (None, entry.get("path")):
        # the published count and version belong to the original, not to a copy
        for key in ("expect_rows", "exact_rows", "revision", *(["split"] if file_kind(str(given["path"])) else [])):
            if key not in given:
                result.pop(key, None)
    return result


def _looks_like_path(text: str) -> bool:
    return text == "testbed" or any(mark in text for mark in ("/", ":", *LOCAL_SUFFIXES))
