"""Data columns that a component requests by `needs = ("columns:<name>",)`, carried as JSON with each problem.

`problem`, `answer`, `level` and `source` are the values that the run uses; any other name or dotted path is a column of
the source's raw row.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tersely.configs.dataset import OWN, SourceSpec
from tersely.configs.scorer import ScorerSpec
from tersely.core.errors import nearest
from tersely.data.load_report import DataError
from tersely.data.rows import MISSING, Reader, column, lookup
from tersely.data.sources import read_rows

LOOKED_AT = 100
"""Rows of a local source that a dry run searches for a column."""


def standard_values(source: SourceSpec, problem: str, answer: str, level: str | None) -> dict[str, Any]:
    """The values of the columns in OWN."""
    return {"problem": problem, "answer": answer, "level": level, "source": source.label}


def scorer_row(scoring: ScorerSpec, row: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Input of a scorer for one row: its columns and the values in OWN. Raises `DataError` for a missing column."""
    if scoring.columns is None:
        return {**row, **own}
    where = f"dataset {own['source']}: scorer"
    return {**{name: column(row, name, "the scorer", where) for name in scoring.columns}, **own}


def values_of(names: Sequence[str], row: Mapping[str, Any], standard: Mapping[str, Any]) -> dict[str, Any]:
    """Name -> value for one row, without missing columns. `own`: the values for the names in OWN."""
    found = {name: standard[name] if name in OWN else lookup(row, name) for name in names}
    return {
        name: value for name, value in found.items() if value is not MISSING and (name not in OWN or value is not None)
    }


def coded(names: Sequence[str], values: Mapping[str, Any]) -> str:
    """JSON of all names; null for a missing column. A value without a JSON type becomes text."""
    return json.dumps({name: values.get(name) for name in names}, default=str)


def require_columns(names: Sequence[str], found: Iterable[str], there: Iterable[str], source: SourceSpec) -> None:
    """Raise `DataError` for a column that no row of the source has. `there`: the columns of its rows."""
    found = set(found)
    for name in names:
        if name not in found:
            raise DataError(
                f"dataset {source.label}: no column {name!r}, which a component needs (columns:{name}); "
                f"{nearest(name, {*OWN[:2], 'source', *there})}"
            )


def first_values(sources: Iterable[SourceSpec], names: Sequence[str], seed: int) -> dict[str, Any]:
    """First value of each column that is not null, from the first rows of sources that need no download.

    Raises `DataError` if such a source lacks a column.
    """
    values: dict[str, Any] = {}
    for source in sources if names else ():
        if not source.procedural and not Path(str(source.path)).exists():
            continue
        reader = Reader(source)
        found: dict[str, Any] = {}
        there: set[str] = set()
        short = replace(source, limit=1) if source.procedural else source
        for index, row in enumerate(itertools.islice(read_rows(short, seed), LOOKED_AT)):
            there |= {str(key) for key in row}
            try:
                problem, answer, level = reader.read(row, f"dataset {source.label}, row {index}")
            except DataError:
                raise
            except ValueError:
                continue
            for name, value in values_of(names, row, standard_values(source, problem, answer, level)).items():
                found[name] = value if found.get(name) is None else found[name]
        require_columns(names, found, there, source)
        values = {**found, **values}
    return {name: json.loads(coded([name], {name: value}))[name] for name, value in values.items()}
