"""reasoning-gym's `score_answer`, made safe for text from a model that is rewarded.

Its scorers are written for honest answers: some evaluate the text as Python, `int(24.5)` counts as 24, an integral that is
not computed differentiates to the integrand. Each guard below is for one kind of task.

Many scorers give partial credit, 0.01 or 0.05 for a wrong format up to 0.99 for a near miss. So the threshold is 1.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any

import reasoning_gym

ARITHMETIC = frozenset({"countdown", "puzzle24"})
"""Tasks whose answer is an expression in given numbers; its value is `target` of the metadata, 24 by default."""
SYMBOLIC = frozenset({"simple_integration", "intermediate_integration", "polynomial_multiplication"})
"""Tasks that evaluate the answer with sympy."""
LITERAL = frozenset({"string_insertion", "spiral_matrix", "binary_matrix", "n_queens"})
"""Tasks that evaluate an answer with brackets as Python."""
_NOT_A_NUMBER = re.compile(r"(?<![A-Za-z])(?:nan|inf|infinity|oo|zoo)(?![A-Za-z])", re.IGNORECASE)
_SUM = re.compile(r"[\d\s+\-*/().]*")
_FUNCTIONS = "sin cos tan cot sec csc asin acos atan sinh cosh tanh asinh acosh atanh exp log ln sqrt pi Abs abs"
_NAMES = frozenset(_FUNCTIONS.split())
_FORMULA = re.compile(r"[A-Za-z\d\s+\-*/^().,_]*")
_CALLED_LETTER = re.compile(r"(?<![A-Za-z])[A-Za-z]\s*\(")
_POWER = re.compile(r"\^\s*\{([^{}]*)\}")
_WORD = re.compile(r"[A-Za-z_]\w*")
_LONGEST = 100_000


def score(answer: str, row: Mapping[str, Any]) -> float:
    """Score of an answer, 0 to 1. `row`: question (or problem), answer, metadata, and task or metadata.source_dataset.

    The text is tried as it is, then with LaTeX and Markdown around it removed. A text that the task's scorer cannot parse
    scores 0. Raises what the scorer raises for any answer, as for a row without its metadata.
    """
    entry = entry_of(row)
    task = str(row.get("task") or entry["metadata"].get("source_dataset"))
    dataset = _dataset(task, json.dumps(row.get("parameters") or {}, sort_keys=True, default=str))
    gold = "" if entry["answer"] is None else str(entry["answer"])
    best = 0.0
    for text in readings(answer):
        if task in SYMBOLIC:
            text = _POWER.sub(r"**(\1)", text).replace("^", "**")
        if text.strip() == gold.strip() or permitted(task, text, gold):
            best = max(best, _score(dataset, text, entry))
    if best >= 1 and task in ARITHMETIC:
        target = entry["metadata"].get("target", 24)
        return best if any(_value(text) == target for text in readings(answer)) else 0.0
    return best


def _score(dataset: Any, text: str, entry: dict[str, Any]) -> float:
    try:
        found = float(dataset.score_answer(text, entry))
    except (MemoryError, RecursionError):
        raise
    except Exception:
        dataset.score_answer("", entry)  # raises again if the row is the cause, not the text
        return 0.0
    return found if found == found else 0.0


def permitted(task: str, text: str, gold: str) -> bool:
    """False for a text that the task's scorer must not receive, because it would run it or accept it by mistake."""
    if len(text) > _LONGEST or (_NOT_A_NUMBER.search(text) and not _NOT_A_NUMBER.search(gold)):
        return False
    if task in ARITHMETIC:
        return bool(_SUM.fullmatch(text)) and _value(text) is not None
    if task in SYMBOLIC:
        letters = set(re.findall(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z])", text))
        words = set(_WORD.findall(text)) - letters
        calls = _CALLED_LETTER.search(text) or re.search(r"\.\s*[A-Za-z_]", text)
        return bool(_FORMULA.fullmatch(text)) and words <= _NAMES and not calls
    if task in LITERAL and "[" in text:
        try:
            ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            return False
    return True


def entry_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """reasoning-gym's item: question, answer, metadata (a dict, or its JSON text)."""
    metadata = row["metadata"]
    if isinstance(metadata, str):
        metadata = json.loads(metadata)
    question = row.get("question", row.get("problem"))
    return {"question": question, "answer": row.get("answer"), "metadata": metadata}


@lru_cache(maxsize=32)
def _dataset(task: str, parameters: str) -> Any:
    return reasoning_gym.create_dataset(task, **{"seed": 0, "size": 1, **json.loads(parameters)})


def _value(text: str) -> Fraction | None:
    """Exact value of an expression in whole numbers and + - * / ( ); None for anything else."""
    try:
        return _evaluated(ast.parse(text.strip(), mode="eval").body)
    except (ValueError, SyntaxError, ZeroDivisionError, RecursionError, MemoryError):
        return None


def _evaluated(node: ast.AST) -> Fraction:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return Fraction(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _evaluated(node.operand)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        left, right = _evaluated(node.left), _evaluated(node.right)
        if isinstance(node.op, ast.Add):
            return left + right
        if isinstance(node.op, ast.Sub):
            return left - right
        if isinstance(node.op, ast.Mult):
            return left * right
        if isinstance(node.op, ast.Div):
            return left / right
    raise ValueError("not an arithmetic expression")


_FENCE = re.compile(r"\s*```[A-Za-z]*\n(.*?)\n?```\s*", re.DOTALL)
_TEXT = re.compile(r"\\(?:text|textbf|textit|texttt|mathrm|mathbf|operatorname|verb)\s*\{([^{}]*)\}")
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\{[a-z]*(?:matrix|array|aligned)\*?\}(?:\{[lcr| ]*\})?")
_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_WRAPPED = re.compile(
    r"\s*(?:\$+(?P<a>[^$]*)\$+|\\\((?P<b>.*)\\\)|\\\[(?P<c>.*)\\\]|`(?P<d>[^`]*)`|\*\*(?P<e>[^*]*)\*\*)\s*",
    re.DOTALL,
)
_SIGNS = (
    ("\\times", "*"),
    ("\\cdot", "*"),
    ("\\div", "/"),
    ("\\left", ""),
    ("\\right", ""),
    ("×", "*"),
    ("÷", "/"),
    ("−", "-"),
    ("\\,", ""),
    ("\\{", "{"),
    ("\\}", "}"),
    ("\\_", "_"),
    ("\\#", "#"),
    ("\\%", "%"),
)


def readings(answer: str) -> Iterator[str]:
    """The answer as it is; then without code fences, math and Markdown marks; then with LaTeX commands as plain text."""
    yield answer
    inner = fence.group(1) if (fence := _FENCE.fullmatch(answer)) else answer
    while found := _WRAPPED.fullmatch(inner):
        inner = next(part for part in found.groupdict().values() if part is not None)
    if inner != answer:
        yield inner
    plain = _ENVIRONMENT.sub("", inner)
    for _ in range(4):
        plain = _FRACTION.sub(r"((\1)/(\2))", _TEXT.sub(r"\1", plain))
    if _ENVIRONMENT.search(inner):
        plain = plain.replace("\\\\", "\n").replace("&", " ")
    for sign, replacement in _SIGNS:
        plain = plain.replace(sign, replacement)
    plain = "\n".join(re.sub(r"[ \t]+", " ", line).strip() for line in plain.strip().splitlines()).strip()
    if plain not in (answer, inner):
        yield plain
