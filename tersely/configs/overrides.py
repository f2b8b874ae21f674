"""Command-line overrides of a recipe: parsed, split for a sweep, and set at a dotted key.

    --learning_rate 2e-6    --instruction "Think: then answer. # briefly"    --reward.beta 0.3    --stages.first.steps 10

A key whose type is text takes the words as they are. Everything else is YAML.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from tersely.core.errors import ConfigError, nearest

OPEN, CLOSE = "[{(", "]})"
PROSE = ("instruction", "system_prompt", "text", "opening", "closing", "space", "think_start")
"""Texts of prompts: any word may stand there, and none is an empty text."""
DEFAULTS = {
    **{"prompting": "plain", "sampling": "fixed", "reward": "correctness", "advantage": "group_zscore"},
    **{"loss": "clip", "filter": "keep_all", "dataset": "testbed"},
}
"""What a slot holds where the recipe leaves it out, as in `algorithms/objective.py`; a parameter of it may be set alone."""


@cache
def recipe_keys(section: str = "keys") -> list[str]:
    """Every key that a recipe may have, without importing TRL; `text`: those whose value is text."""
    found: dict[str, list[str]] = {}
    for line in (files("tersely.configs") / "recipe_keys.yaml").read_text(encoding="utf-8").splitlines():
        if line.endswith(":"):
            name = line[:-1]
        elif line.startswith("- "):
            found.setdefault(name, []).append(line[2:])
    return found[section]


def parse_value(key: str, text: str) -> Any:
    """The value that `text` states for `key`. `null` is no value for a name or a choice too, and a word of a prompt."""
    import yaml

    if is_text(key):
        return None if text in ("null", "~", "") and key.rpartition(".")[2] not in PROSE else text
    if text[:1] not in ("{", "[", '"', "'") and (" #" in text or (": " in text and "." in key)):
        return text  # YAML would cut it at the ` #`, or make it a mapping
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{key}: got {text!r}, which is not a YAML value ({_reason(error)})") from None


def is_text(key: str) -> bool:
    """Is the value of the key text? Of a dotted one its last part tells: `prompting.instruction`."""
    head, _, last = key.rpartition(".")
    if not head:
        return key in recipe_keys("text")
    return last in recipe_keys("text_parts") or last in recipe_keys("text") or head == "env"


def _reason(error: Exception) -> str:
    return str(getattr(error, "problem", None) or error)


def split_values(text: str) -> list[str]:
    """The parts between commas, but for commas inside brackets or quotes. `ConfigError` for brackets that do not match."""
    parts: list[str] = []
    stack: list[str] = []
    start, quote = 0, ""
    for index, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote and text[index - 1] != "\\" else quote
        elif letter in "\"'" and not text[start:index].strip(" ,:" + OPEN) or (letter in "\"'" and stack):
            quote = letter if _closed(text, index) else ""
        elif letter in OPEN:
            stack.append(CLOSE[OPEN.index(letter)])
        elif letter in CLOSE:
            if not stack or stack.pop() != letter:
                raise ConfigError(f"{text!r}: the {letter!r} at position {index + 1} closes nothing")
        elif letter == "," and not stack:
            parts.append(text[start:index])
            start = index + 1
    if stack:
        raise ConfigError(f"{text!r}: a {stack[-1]!r} is missing at the end")
    return [part.strip() for part in [*parts, text[start:]]]


def _closed(text: str, index: int) -> bool:
    """Is there a second quote? An apostrophe has none."""
    return text[index] in text[index + 1 :]


def unquoted(key: str, text: str) -> str:
    """A part of a list for a text key, without the quotes that kept its commas."""
    whole = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1] if whole and is_text(key) else text


def set_dotted(recipe: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The recipe with `reward.beta` and the like set.

    A name stands for `{name: ...}`. In a list an element is chosen by its name or its index; a list of one needs neither.
    """
    recipe = dict(recipe)
    top, *path = key.split(".")
    if not all([top, *path]):
        raise ConfigError(f"{key!r}: an empty part between dots; it looks like reward.beta")
    recipe[top] = _set(copy.deepcopy(recipe.get(top)), path, value, top)
    return recipe


def _set(held: Any, path: list[str], value: Any, where: str) -> Any:
    if not path:
        return value
    first, *rest = path
    if isinstance(held, list):
        index = _index(held, first, where)
        if index is None:
            index, first, rest = 0, "", path
        held[index] = _set(held[index], rest, value, f"{where}.{first}" if first else where)
        return held
    if held is None:
        held = {"name": DEFAULTS[where]} if where in DEFAULTS else {}
    elif isinstance(held, str):
        held = {"name": held}
    if not isinstance(held, dict):
        raise ConfigError(f"{where}.{'.'.join(path)}: {where} is {held!r}, which has no parameters")
    if first in held:
        held[first] = _set(held[first], rest, value, f"{where}.{first}")
    else:
        held[first] = _set(None, rest, value, f"{where}.{first}")
    return held


def _index(items: list[Any], word: str, where: str) -> int | None:
    """Which element `word` chooses; None where it is a parameter of the only one."""
    names = [str(item.get("name")) if isinstance(item, Mapping) else str(item) for item in items]
    if word in names and names.count(word) == 1:
        return names.index(word)
    if word.isdigit() and int(word) < len(items):
        return int(word)
    if len(items) == 1:
        return None
    valid = [name for name in names if names.count(name) == 1] or [str(i) for i in range(len(items))]
    raise ConfigError(
        f"{where}.{word}: {where} is a list of {len(items)}; name one element, such as {where}.{(valid or ['0'])[0]}.beta; "
        f"{nearest(word, valid)}"
    )
