"""Reads local files and folders: JSON lines, JSON, CSV, TSV and parquet, plain or compressed, and `save_to_disk` folders.

Each row has its place ("line 17") for messages. Text is UTF-8, or UTF-16 with a byte order mark.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from tersely.configs.dataset import COMPRESSIONS, LOCAL_SUFFIXES, file_kind
from tersely.core.strict_json import json_of, strict_json, twice
from tersely.data.load_report import DataError

FIELD_LIMIT = 1 << 30
"""Longest CSV field in characters; solutions exceed the csv module's default."""
HEAD = 4096
"""Number of characters in which another encoding is detected."""


class Row(dict):
    """One row with its place in the file."""

    place: str = ""


def _row(values: Mapping[str, Any], place: str) -> Row:
    row = Row(values)
    row.place = place
    return row


def read_file(path: Path, where: str) -> Iterator[Mapping[str, Any]]:
    """The rows of one file. Raises `DataError` with the line; Arrow's and Unicode's errors pass through."""
    kind = file_kind(path)
    if kind is None:
        raise DataError(
            f"{where}: got {path}; expected a file with one of {', '.join(LOCAL_SUFFIXES)}, also with "
            f"{', '.join(COMPRESSIONS)}. Convert it, for example to .jsonl"
        )
    if path.stat().st_size == 0 and kind in (".json", ".parquet"):
        raise DataError(f"{where}: {path} is empty")
    if kind == ".parquet":
        import pyarrow.parquet

        place: Any = io.BytesIO(_opened(path).read()) if path.suffix.lower() in COMPRESSIONS else path
        for batch in pyarrow.parquet.ParquetFile(place).iter_batches(batch_size=1024):
            yield from batch.to_pylist()
        return
    with text_of(path) as text:
        if kind in (".csv", ".tsv"):
            yield from _delimited(text, "\t" if kind == ".tsv" else ",", f"{where}: {path}")
        elif kind == ".json":
            yield from _json(text.read(), f"{where}: {path}")
        else:
            yield from _json_lines(text, f"{where}: {path}")


def text_of(path: Path, errors: str = "strict") -> TextIO:
    """Open the decompressed text, without a byte order mark; only line feeds end lines. Raises `DataError` for binary data."""
    raw = _opened(path)
    start = raw.read(4)
    encoding = "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    raw.close()
    text = io.TextIOWrapper(_opened(path), encoding=encoding, errors=errors, newline="\n")
    if "\0" in text.read(HEAD):
        text.close()
        raise DataError(
            f"{path}: got NUL characters; expected UTF-8 text. It may be binary, UTF-32, or UTF-16 without a byte order mark. "
            "Save it as UTF-8"
        )
    text.seek(0)
    return text


def _opened(path: Path) -> BinaryIO:
    import bz2
    import gzip
    import lzma

    opener: Any = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}.get(path.suffix.lower())
    if opener is not None:
        return opener(path, "rb")
    if path.suffix.lower() == ".zst":
        import pyarrow

        return io.BytesIO(pyarrow.input_stream(str(path), compression="zstd").read())
    return path.open("rb")


def _json_lines(lines: Iterator[str] | TextIO, where: str) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = strict_json(line)
        except ValueError as error:
            raise DataError(f"{where}, line {number}: invalid JSON: {error}") from error
        if not isinstance(row, dict):
            raise DataError(f"{where}, line {number}: got {type(row).__name__}; expected an object with columns")
        yield _row(row, f"line {number}")


def _json(text: str, where: str) -> Iterator[Row]:
    """Rows of a JSON file: a list, an object with one list, or JSON lines with the wrong suffix."""
    try:
        rows, repeated = json_of(text)
    except ValueError:
        first = text.lstrip().split("\n", 1)[0]
        if not first.startswith("{") or not _is_json(first):
            raise
        yield from _json_lines(iter(text.split("\n")), where)
        return
    if isinstance(rows, dict):
        lists = [value for value in rows.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
        rows = lists[0] if len(lists) == 1 and not {"problem", "question", "answer"} & rows.keys() else [rows]
    if repeated:
        items = rows if isinstance(rows, list) else [rows]
        place = next(number for number, item in enumerate(items) if _holds(item, repeated[0][0]))
        raise DataError(f"{where}, item {place}: {twice(repeated[0])}")
    if not isinstance(rows, list):
        raise DataError(
            f"{where}: got {type(rows).__name__}; expected a list of objects, or one object per line (.jsonl)"
        )
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise DataError(f"{where}, item {number}: got {type(row).__name__}; expected an object with columns")
        yield _row(row, f"item {number}")


def _holds(value: Any, part: dict) -> bool:
    """True if the value contains this object (by identity)."""
    if value is part:
        return True
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(_holds(one, part) for one in inner)


def _is_json(line: str) -> bool:
    try:
        json_of(line)
    except ValueError:
        return False
    return True


def _delimited(text: TextIO, delimiter: str, where: str) -> Iterator[Row]:
    """Rows of a CSV file with a header line; a semicolon is detected if only it separates the header."""
    csv.field_size_limit(FIELD_LIMIT)
    head = text.readline()
    if delimiter not in head and ";" in head:
        delimiter = ";"
    reader = csv.reader(itertools.chain([head], text), delimiter=delimiter)
    try:
        header = [name.strip() for name in next(reader, [])]
        if twice := sorted({name for name in header if header.count(name) > 1}):
            raise DataError(f"{where}: duplicate column {twice[0]!r} in the header. Rename one of them")
        for fields in reader:
            if not fields:
                continue
            if len(fields) != len(header):
                raise DataError(
                    f"{where}, line {reader.line_num}: got {len(fields)} fields; expected {len(header)}, as in the header "
                    f"({', '.join(header)}). Put quotes around fields with {delimiter!r}"
                )
            yield _row(dict(zip(header, fields, strict=True)), f"line {reader.line_num}")
    except csv.Error as error:
        raise DataError(f"{where}, line {reader.line_num}: {error}") from error


def saved_folder(path: Path) -> bool:
    """True for a folder written by `Dataset.save_to_disk`."""
    return (path / "dataset_dict.json").is_file() or ((path / "state.json").is_file() and _has_arrow(path))


def _has_arrow(path: Path) -> bool:
    return any(path.glob("*.arrow"))


def read_saved_folder(path: Path, split: str, where: str) -> Iterator[Mapping[str, Any]]:
    """The rows of a `save_to_disk` folder, sliced by the split; a folder with several splits needs a split name."""
    import datasets

    data = datasets.load_from_disk(str(path))
    if isinstance(data, datasets.DatasetDict):
        name = split.partition("[")[0]
        if name not in data:
            raise DataError(f"{where}: split: got {name!r}; expected one of {', '.join(data)}, the splits of {path}")
        data = data[name]
    else:
        require_whole(path, split, where, str(data.split or "train"))
    first, last = slice_of(split, len(data), where)
    for table in data.select(range(first, last)).with_format("arrow").iter(batch_size=1024):
        yield from table.to_pylist()


def require_whole(path: Path, split: str, where: str, split_name: str = "train") -> None:
    """Raise `DataError` for a split other than `train`, its `split_name`, or a part of the path's name."""
    name = split.partition("[")[0]
    if name not in ("train", split_name) and name not in re.split(r"[\W_]+", path.name):
        raise DataError(
            f"{where}: split: got {split!r}; {path.name} has no splits: all its rows are 'train'. Remove split, or use a "
            "slice such as train[:50%]"
        )


def slice_of(split: str, rows: int, where: str) -> tuple[int, int]:
    """(first, last) row of a split such as `train[:50%]` or `train[100:200]`; a plain name selects all rows.

    Local data without splits is `train`, as in the datasets library.
    """
    if "[" not in split:
        return 0, rows
    import datasets

    name = split.partition("[")[0]
    try:
        parts = datasets.ReadInstruction.from_spec(split).to_absolute({name: rows})
    except (ValueError, AssertionError, KeyError) as error:
        raise DataError(
            f"{where}: split: got {split!r}; expected a name and a slice such as train[:50%] ({error})"
        ) from error
    if len(parts) != 1:
        raise DataError(f"{where}: split: got {split!r}; expected one slice such as train[:50%] for a local file")
    first, last = parts[0].from_ or 0, rows if parts[0].to is None else parts[0].to
    if first >= last:
        raise DataError(f"{where}: split: got {split!r}, which selects none of the {rows} rows")
    return first, last
