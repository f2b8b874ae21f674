"""Named extractors: convert the text of a row to the problem, the answer or the level.

A source lists them under `transform`; several are applied in order. Each takes and returns one value, and raises
ValueError for a value it cannot read, which the loader reports with the row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from tersely.core.errors import ConfigError, nearest

_DAPO_HEAD = re.compile(r"\ASolve the following math problem step by step\..*?\n\s*\n", re.DOTALL)
_DAPO_TAIL = re.compile(r"\s*Remember to put your answer on its own line after [\"“]Answer:[\"”]\.?\s*\Z")
_BOXED_TAIL = re.compile(
    r"\s*(?:Please|Let's think step by step and|Let’s think step by step and|Think step by step and)[^.\n]*"
    r"\\boxed\{[^{}]*\}\.?\s*\Z"
)
_COMMAS = re.compile(r"(?<=\d),(?=\d{3}(?:\D|\Z))")


def gsm8k_answer(text: str) -> str:
    """The number after the last `####`, without thousands commas, currency sign or a trailing full stop."""
    _, mark, tail = text.rpartition("####")
    if not mark:
        raise ValueError("no `####` before the answer")
    answer = _COMMAS.sub("", tail.strip().lstrip("$").strip()).rstrip(".")
    if not answer:
        raise ValueError("nothing follows `####`")
    return answer


def last_boxed(text: str) -> str:
    r"""The content of the last \boxed{...} or \fbox{...}, with matched braces; `\boxed 5` counts too."""
    start = max(text.rfind("\\boxed"), text.rfind("\\fbox"))
    if start < 0:
        raise ValueError("no \\boxed{} in the solution")
    rest = text[start:].split("boxed" if text.startswith("\\boxed", start) else "fbox", 1)[1].lstrip()
    if not rest.startswith("{"):
        token = re.match(r"[^\s$\\.,;]+", rest)
        if token is None:
            raise ValueError("the last \\boxed{} is empty")
        return token.group()
    depth = 0
    escaped = False
    for index, character in enumerate(rest):
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
            if depth == 0:
                return rest[1:index].strip()
    raise ValueError("the last \\boxed{} has unmatched braces")


def json_first(text: Any) -> str:
    """The first item of a JSON list that is stored as text (`"[\\"5\\"]"`); also accepts a list."""
    if isinstance(text, str):
        try:
            text = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"not a JSON list: {text[:60]!r} ({error})") from error
    return list_first(text)


def list_first(value: Any) -> str:
    """The first item of a list; any other value is returned unchanged."""
    if not isinstance(value, list | tuple):
        return value
    if not value:
        raise ValueError("the list of answers is empty")
    return value[0]


def list_joined(value: Any) -> Any:
    """All items of a list of answers, joined by commas."""
    return ", ".join(str(item).strip().strip("$") for item in value) if isinstance(value, list | tuple) else value


def strip_dapo(text: str) -> str:
    """The problem of a DAPO prompt, without the instructions about a last line `Answer: ...` around it."""
    bare = _DAPO_TAIL.sub("", _DAPO_HEAD.sub("", text.strip(), count=1)).strip()
    if "on its own line after" in bare or "should be of the form Answer:" in bare:
        raise ValueError("the instruction about `Answer:` has an unknown form, and it would contradict \\boxed{}")
    return bare


def strip_boxed_instruction(text: str) -> str:
    r"""The problem without a closing instruction about \boxed{}; the run adds its own instruction."""
    return _BOXED_TAIL.sub("", text).strip()


def chat_of(value: Any) -> list[Mapping[str, Any]] | None:
    """The turns of a chat, given as a list or as JSON text; None for anything else."""
    if isinstance(value, str) and value.lstrip().startswith("[") and ('"role"' in value or '"from"' in value):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    if not isinstance(value, list | tuple) or not value:
        return None
    turns = [turn for turn in value if isinstance(turn, Mapping) and ("role" in turn or "from" in turn)]
    return turns if len(turns) == len(value) else None


def first_user_turn(value: Any) -> str:
    """The content of the first user message of a chat; text is returned unchanged."""
    for turn in (turns := chat_of(value)) or ():
        if turn.get("role", turn.get("from")) in ("user", "human"):
            return _turn_text(turn)
    if turns is None and isinstance(value, str):
        return value
    raise ValueError("no user message in the chat")


def last_assistant_turn(value: Any) -> str:
    """The content of the last assistant message of a chat; text is returned unchanged."""
    for turn in reversed((turns := chat_of(value)) or ()):
        if turn.get("role", turn.get("from")) in ("assistant", "gpt", "model"):
            return _turn_text(turn)
    if turns is None and isinstance(value, str):
        return value
    raise ValueError("no assistant message in the chat")


def _turn_text(turn: Any) -> str:
    """The text of a turn, whose content may be a list of parts."""
    content = turn.get("content", turn.get("value"))
    if not isinstance(content, list | tuple):
        return content
    kinds = [part.get("type", "text") if isinstance(part, dict) else "text" for part in content]
    if other := [kind for kind in kinds if kind not in ("text", "input_text", "output_text")]:
        raise ValueError(f"got a turn with a part of type {other[0]!r}; expected only text")
    return "".join(str(part.get("text") or "") if isinstance(part, dict) else str(part) for part in content)


def level_number(value: Any) -> str | None:
    """`Level 5` -> `5`; anything else unchanged (`Level ?` -> null)."""
    text = str(value).strip()
    text = text.removeprefix("Level ").strip()
    return None if text in ("?", "", "None", "nan") else text


def integer(value: Any) -> str:
    """`033` -> `33`, `27.0` -> `27`: contest answers that are integers by rule."""
    text = str(value).strip().strip("$").strip()
    try:
        number = float(text.replace(",", ""))
    except ValueError as error:
        raise ValueError(f"got {text[:60]!r}; expected an integer") from error
    if number != int(number):
        raise ValueError(f"got {text[:60]!r}; expected an integer")
    return str(int(number))


def whole_as_integer(value: Any) -> str:
    """`27.0` -> `27`; everything else unchanged."""
    text = str(value).strip()
    return text[:-2] if re.fullmatch(r"-?\d+\.0", text) else text


def strip_dollars(value: Any) -> str:
    """`$x+1$` -> `x+1`; only if one pair of dollars encloses the whole text."""
    text = str(value).strip()
    inner = text.strip("$").strip()
    return inner if text.startswith("$") and text.endswith("$") and "$" not in inner else text


def numeric_notation(value: Any) -> str:
    r"""`4.5e33` -> `4.5 \times 10^{33}`, `np.arcsin(10/13)` -> `\arcsin(10/13)`: program text in reference answers."""
    text = re.sub(r"\bnp\.(?=[a-z])", r"\\", str(value).strip())
    return re.sub(r"(?<![\w.])(-?\d+(?:\.\d+)?)[eE]([+-]?\d+)(?!\w)", _power_of_ten, text)


def _power_of_ten(match: re.Match[str]) -> str:
    return f"{match[1]} \\times 10^{{{int(match[2])}}}"


EXTRACTORS: dict[str, Callable[[Any], Any]] = {
    "gsm8k_answer": gsm8k_answer,
    "last_boxed": last_boxed,
    "json_first": json_first,
    "list_first": list_first,
    "list_joined": list_joined,
    "strip_dapo": strip_dapo,
    "strip_boxed_instruction": strip_boxed_instruction,
    "first_user_turn": first_user_turn,
    "last_assistant_turn": last_assistant_turn,
    "level_number": level_number,
    "integer": integer,
    "whole_as_integer": whole_as_integer,
    "strip_dollars": strip_dollars,
    "numeric_notation": numeric_notation,
}


def extractors(names: str | list[str], where: str) -> list[Callable[[Any], Any]]:
    """Functions for one or several extractor names. Raises `ConfigError` for an unknown name."""
    chosen = [names] if isinstance(names, str) else names
    if not isinstance(chosen, list | tuple):
        raise ConfigError(f"{where}: got {names!r}; expected an extractor or a list of them; {nearest('', EXTRACTORS)}")
    for name in chosen:
        if not isinstance(name, str) or name not in EXTRACTORS:
            raise ConfigError(f"{where}: unknown extractor {name!r}; {nearest(str(name), EXTRACTORS)}")
    return [EXTRACTORS[name] for name in chosen]
