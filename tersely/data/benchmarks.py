"""Benchmarks: a source of problems with sampling settings. The shipped ones are configs/benchmarks/*.yaml.

`load_benchmark("math500")` or `load_benchmark("my/problems.jsonl")` uses the same loader as training, but keeps
duplicates and requires the published row counts, so that an accuracy covers exactly the published items.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tersely.configs.dataset import LOCAL_SUFFIXES, SourceSpec, entry_names, file_kind, merged, read_entry
from tersely.core.errors import ConfigError, check_fields, nearest, require_range
from tersely.core.paths import beside, expanded

if TYPE_CHECKING:
    import datasets

    from tersely.data.load_report import DataCard

KIND = "benchmarks"


@dataclass(frozen=True)
class Sampling:
    """Default sampling settings of a benchmark: DeepSeek-R1's, which published comparisons use."""

    samples: int = 4
    temperature: float = 0.6
    top_p: float = 0.95
    top_k: int = 0
    """0 disables it; Qwen3's authors use 20."""
    max_new_tokens: int = 32768

    def __post_init__(self) -> None:
        require_range("eval.samples", self.samples, at_least=1)
        require_range("eval.temperature", self.temperature, at_least=0)
        require_range("eval.top_p", self.top_p, above=0, at_most=1)
        require_range("eval.top_k", self.top_k, at_least=0)
        require_range("eval.max_new_tokens", self.max_new_tokens, at_least=1)


@dataclass(frozen=True)
class Benchmark:
    """One benchmark: its name in records and reports, its source of problems, and its sampling settings."""

    name: str
    title: str
    source: SourceSpec
    sampling: Sampling


def benchmark_names() -> list[str]:
    """Names of the shipped benchmarks."""
    return entry_names(KIND)


def find_benchmark(spec: str | Mapping[str, Any] | Benchmark) -> Benchmark:
    """Benchmark from a shipped name, a data file, a benchmark .yaml file, or a mapping of source and sampling keys.

    Raises `ConfigError` for unknown names and keys, with the nearest match.
    """
    if isinstance(spec, Benchmark):
        return spec
    if isinstance(spec, str) and (spec := expanded(spec, "benchmark")).endswith((".yaml", ".yml")):
        spec = _own(Path(spec))
    if isinstance(spec, str):
        name, values = (spec, read_entry(spec, KIND)) if spec in benchmark_names() else (_stem(spec), {"path": spec})
    else:
        given = {str(key): value for key, value in spec.items()}
        entry = read_entry(given["name"], KIND) if given.get("name") in benchmark_names() else {}
        values = merged(entry, given)
        name = str(values.pop("name", None) or _stem(str(values.get("path", ""))))
    if not values.get("path"):
        raise ConfigError(f"benchmark {name!r}: missing `path`; {nearest(name, benchmark_names())}")
    values["path"] = expanded(str(values["path"]), f"benchmark {name}")
    title = str(values.pop("title", name))
    keys = [field.name for field in fields(Sampling)]
    sampling = {key: values.pop(key) for key in keys if key in values}
    where = f"benchmark {name}"
    pinned = {"seed": 0, "keep_duplicates": True, "exact_rows": bool(values.get("expect_rows")), **values, "name": name}
    return Benchmark(
        name,
        title,
        SourceSpec(**check_fields(SourceSpec, pinned, where)),
        Sampling(**check_fields(Sampling, sampling, where)),
    )


def load_benchmark(
    spec: str | Mapping[str, Any] | Benchmark,
    *,
    limit: int | None = None,
    instruction: str | None = None,
    system_prompt: str | None = None,
) -> tuple[Benchmark, datasets.Dataset, DataCard]:
    """Load a benchmark: (benchmark, problems with the columns of `load_problems`, load report).

    `limit` selects a fixed random subset, independent of the run's seed. Rows that share an id (an error of the source) get
    the suffixes `-2`, `-3`.
    """
    from tersely.data.load import load_problems_with_card
    from tersely.data.load_report import DataError

    benchmark = find_benchmark(spec)
    source = benchmark.source if limit is None else replace(benchmark.source, limit=limit)
    try:
        data, card = load_problems_with_card(
            source, seed=0, instruction=instruction, system_prompt=system_prompt, kind=KIND
        )
    except DataError as error:
        if isinstance(spec, str) and file_kind(spec) and ": no column " in str(error):
            name = f"{_stem(spec)}.yaml"
            raise DataError(
                f"{error} in a benchmark file: save `path: {spec}` and that line as {name}, and pass --benchmarks {name}"
            ) from error
        raise
    return benchmark, _with_unique_ids(data), card


def _with_unique_ids(data: datasets.Dataset) -> datasets.Dataset:
    """Make ids unique: records are identified by (problem id, sample), and a repeated item counts as two items."""
    seen: dict[str, int] = {}
    ids = []
    for identity in data["prompt_id"]:
        seen[identity] = seen.get(identity, 0) + 1
        ids.append(identity if seen[identity] == 1 else f"{identity}-{seen[identity]}")
    return data.remove_columns("prompt_id").add_column("prompt_id", ids)


def _own(file: Path) -> dict[str, Any]:
    """Read a user's benchmark file; a relative `path` is also resolved from the file's folder."""
    import yaml

    if not file.is_file():
        raise ConfigError(
            f"--benchmarks: no such file: {file}; {beside(file) or 'expected a .yaml like those of configs/benchmarks/'}"
        )
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: invalid YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(values, dict) or not values.get("path"):
        raise ConfigError(f"{file}: expected a mapping with `path` (a dataset or a file), and keys such as samples")
    values["path"] = expanded(str(values["path"]), str(file))
    near = file.parent / values["path"]
    if not Path(values["path"]).exists() and near.exists():
        values["path"] = str(near)
    return {"name": file.stem, **values}


def _stem(spec: str) -> str:
    if not spec or not (file_kind(spec) or any(mark in spec for mark in ("/", ":"))):
        raise ConfigError(
            f"unknown benchmark {spec!r}; {nearest(spec, benchmark_names())}. A local file needs its suffix "
            f"({', '.join(LOCAL_SUFFIXES)}) and the columns problem and answer"
        )
    kind = file_kind(spec)
    if kind:
        return Path(spec).name.partition(kind)[0]
    return Path(spec).stem if ":" not in spec else spec.partition(":")[2]
