"""`tersely methods`: lists the shipped methods, one per line; `tersely methods alp`: prints one method card."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tersely.configs.load import SLOT_KEYS, list_methods, load_method
from tersely.core.paths import place_option
from tersely.core.protocols import Component, completed, replaces
from tersely.launch.cli.parser import Parser

if TYPE_CHECKING:
    from rich.console import Console

INDENT = "    "


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(
        prog="tersely methods",
        description="List the shipped methods, or print one method card: formula, parameters, pitfalls.",
    )
    parser.add_argument("method", nargs="?", type=place_option, help="shipped method, or a method's YAML file")
    parser.add_argument("--names", action="store_true", help="print only names, one per line")
    options = parser.parse_args(argv)
    if options.names:
        print("\n".join(list_methods()))
        return 0
    from rich.console import Console

    # a pipe has no width, and the parameter tables need more than 80 columns
    wide = 80 if options.method is None else 160
    console = Console(width=None if sys.stdout.isatty() else wide, highlight=False, soft_wrap=False)
    if options.method is None:
        overview(console)
    else:
        card(console, load_method(options.method))
    return 0


def overview(console: Console) -> None:
    """Print one row per preset: name, paper, and the first sentence of the summary."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("method", "paper", "summary"):
        table.add_column(column, no_wrap=column != "summary", style="bold" if column == "method" else None)
    for name in list_methods():
        method = load_method(name)
        table.add_row(name, str(method.get("paper", "")), first_sentence(str(method.get("summary", ""))))
    console.print(table)
    console.print("`tersely methods NAME` prints a card. Papers are arXiv numbers.")


def first_sentence(text: str) -> str:
    """The first sentence: the text up to the full stop before the next capital."""
    return re.split(r"(?<=\.)\s+(?=[A-Z(])", " ".join(text.split()), maxsplit=1)[0].rstrip(".")


def brief(spec: Any) -> str:
    """A component spec without parameters: `correctness + 0.5 kimi`, `high_entropy_mask(clip)`."""
    if isinstance(spec, Mapping):
        weight = spec.get("weight", 1)
        factor = f"{weight:g} " if isinstance(weight, int | float) and weight != 1 else ""
        base = f"({brief(spec['base'])})" if spec.get("base") else ""
        return f"{factor}{spec.get('name', '?')}{base}"
    if isinstance(spec, Sequence) and not isinstance(spec, str):
        return " + ".join(brief(term) for term in spec)
    return str(spec)


def card(console: Console, method: Mapping[str, Any]) -> None:
    """Print the card of one method: its summary, then each slot's component with docstring and parameters."""
    import yaml
    from rich.text import Text

    paper = str(method.get("paper", ""))
    console.print(
        Text(str(method.get("title", "")), style="bold"), Text(f"https://arxiv.org/abs/{paper}" if paper else "")
    )
    for key in ("label", "summary"):
        if method.get(key):
            console.print(Text(str(method[key])))
    if method.get("published"):
        console.print(Text(f"Published: {method['published']}"))
    for section in (method, *(method.get("stages") or [])):
        if section is not method:
            console.rule(f"stage {section.get('name', '')}", align="left")
        for slot in SLOT_KEYS:
            if slot == "aggregate" and slot in section:
                console.print(Text(f"\naggregate: {section[slot]}", style="bold"))
            elif section.get(slot):
                for spec in specs(section[slot]):
                    component(console, slot.removesuffix("s") if slot == "controllers" else slot, spec)
    rest = {key: method[key] for key in ("settings", "stages") if method.get(key)}
    if rest:
        console.print(Text("\n" + yaml.safe_dump(rest, sort_keys=False, allow_unicode=True).rstrip()))


def specs(spec: Any) -> list[dict[str, Any]]:
    """The components of a slot as mappings; a wrapped loss follows its wrapper."""
    terms = spec if isinstance(spec, Sequence) and not isinstance(spec, str) else [spec]
    found = []
    for term in terms:
        mapping = dict(term) if isinstance(term, Mapping) else {"name": str(term)}
        found.append(mapping)
        if mapping.get("base"):
            found += specs(mapping["base"])
    return found


def component(console: Console, slot: str, spec: Mapping[str, Any]) -> None:
    """Print the docstring and parameters of one component: type, default, and this method's value."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from tersely.core.build import BASES, component_class

    cls = completed(BASES[slot], component_class(slot, str(spec["name"])))
    module = inspect.getmodule(cls)
    console.print(Text(f"\n{slot}: {spec['name']}", style="bold"), Text(cls.__module__, style="dim"))
    for text in (inspect.getdoc(module), own_doc(cls)):
        if text:
            console.print(Text("\n".join(INDENT + line if line else "" for line in text.splitlines())))
    if state := state_of(cls):
        console.print(Text(f"{INDENT}State: {state}"))
    fields = [field for field in dataclasses.fields(cls) if field.init] if dataclasses.is_dataclass(cls) else []
    if not fields:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("parameter", "type", "default", "here"):
        table.add_column(column)
    for field in fields:
        here = spec.get(field.name, "")
        table.add_row(
            field.name,
            Text(str(getattr(field.type, "__name__", field.type))),
            Text(default_of(field)),
            Text(brief(here) if field.name == "base" else str(here)),
        )
    console.print(table)


def state_of(cls: Any) -> str | None:
    """Description of the state that a component keeps or reads between steps; None without state."""
    fields = ", ".join(cls.memory_fields if issubclass(cls, Component) else ())
    learns = replaces(cls, "update")
    parts = ["updated from every batch"] if learns and replaces(cls, "state_dict") else []
    if fields:
        writes = learns and not parts
        parts.append(f"{'keeps' if writes else 'reads'} {fields} in the prompt memory")
    return f"{'; '.join(parts)}; saved with the checkpoint" if parts else None


def own_doc(cls: type) -> str | None:
    """The class's docstring, unless it is the signature that `dataclass` generates."""
    text = inspect.getdoc(cls) if cls.__doc__ else None
    return None if text is None or text.startswith(f"{cls.__name__}(") else text


def default_of(field: dataclasses.Field) -> str:
    if field.default is not dataclasses.MISSING:
        return "null" if field.default is None else str(field.default)
    if field.default_factory is not dataclasses.MISSING:
        return str(field.default_factory())
    return "required"
