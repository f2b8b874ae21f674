"""Tables of the fields of `Rollouts` and `TokenBatch`, from the docstrings in their classes."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class FieldText:
    name: str
    kind: str
    """Shape, type and unit."""
    meaning: str
    when_none: str
    """Empty for a field that is always there."""


def field_texts(cls: type) -> list[FieldText]:
    """The documented fields of a dataclass. Raises `ValueError` for a field without a text of the form `kind: meaning.`"""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(body, ast.ClassDef)
    texts = {}
    for statement, following in zip(body.body, body.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            value = following.value if isinstance(following, ast.Expr) else None
            texts[statement.target.id] = value.value if isinstance(value, ast.Constant) else ""
    found = []
    for field in fields(cls):
        kind, colon, rest = " ".join(str(texts.get(field.name, "")).split()).partition(": ")
        meaning, _, when = rest.partition(" None ")
        optional = field.default is None
        if not colon or not meaning or optional != bool(when):
            raise ValueError(
                f"{cls.__name__}.{field.name}: got {texts.get(field.name)!r}; expected `kind: meaning."
                f"{' None where it is None.' if optional else ''}`"
            )
        found.append(FieldText(field.name, kind, meaning.strip(), when))
    return found


def fields_table(cls: type) -> str:
    """Markdown, one row per field."""
    rows = [("field", "shape, type, unit", "meaning", "`None`"), ("---",) * 4]
    rows += [(f"`{one.name}`", one.kind, one.meaning, one.when_none or "never") for one in field_texts(cls)]
    return "".join("| " + " | ".join(re.sub(r"\|", r"\\|", cell) for cell in row) + " |\n" for row in rows)


def rollouts_table() -> str:
    from tersely.core.types import Rollouts

    return fields_table(Rollouts)


def token_batch_table() -> str:
    from tersely.core.types import TokenBatch

    return fields_table(TokenBatch)
