"""`tersely recipes` and `tersely datasets`: lists the shipped files, one per line; with a name, prints that file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path

from tersely.configs.load import list_recipes, read_yaml
from tersely.core.errors import ConfigError, nearest
from tersely.launch.cli.parser import Parser


def recipes(argv: Sequence[str] | None = None) -> int:
    """List the shipped recipes: name, model, and the first line of the header."""
    return _list(argv, "recipes", list_recipes(), _recipe_row, ("recipe", "model", "what it is"))


def datasets(argv: Sequence[str] | None = None) -> int:
    """List the shipped datasets: name, source, description, and pitfalls."""
    return _list(argv, "datasets", dataset_names(), _dataset_row, ("dataset", "path", "problems", "what it is"))


def dataset_names() -> list[str]:
    return sorted(path.stem for path in _file("datasets", "").parent.glob("*.yaml"))


def _list(argv, kind, names, row, header) -> int:
    parser = Parser(prog=f"tersely {kind}", description=f"List the shipped {kind}, or print one file.")
    parser.add_argument("name", nargs="?", help="name of the file to print")
    if kind == "recipes":
        parser.add_argument("--schema", action="store_true", help="print the JSON Schema of a recipe, for editors")
    parser.add_argument("--names", action="store_true", help="print only names, one per line")
    options = parser.parse_args(argv)
    if getattr(options, "schema", False):
        import json

        from tersely.configs.schema import json_schema

        print(json.dumps(json_schema(), indent=1))
    elif options.name is not None:
        if options.name not in names:
            raise ConfigError(f"no shipped {kind[:-1]} {options.name!r}; {nearest(options.name, names)}")
        print(_file(kind, options.name).read_text(encoding="utf-8"), end="")
    elif options.names:
        print("\n".join(names))
    else:
        lines = _table(header, map(row, names)).splitlines()
        for line, name in zip(lines, [None, *names], strict=True):
            print("\n".join([line, *(f"    pitfall: {text}" for text in _pitfalls(kind, name))]))
    return 0


def _pitfalls(kind: str, name: str | None) -> Sequence[str]:
    return () if name is None else read_yaml(_file(kind, name)).get("pitfalls") or ()


def _file(kind: str, name: str) -> Path:
    return Path(str(files("tersely.configs"))) / kind / f"{name}.yaml"


def _recipe_row(name: str) -> tuple[str, ...]:
    path = _file("recipes", name)
    first = path.read_text(encoding="utf-8").splitlines()[0]
    return name, str(read_yaml(path).get("model_name_or_path", "")), first.lstrip("# ")


def _dataset_row(name: str) -> tuple[str, ...]:
    entry = read_yaml(_file("datasets", name))
    count = next(iter(entry.get("expect_rows") or ()), None) or entry.get("limit") or ""
    return name, str(entry.get("path", "")), str(count), str(entry.get("about", ""))


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = [header, *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return "\n".join("  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)).rstrip() for row in cells)
