"""Command-line overrides of a recipe: parsed, split for a sweep, and set at a dotted key.

    --learning_rate 2e-6    --instruction "Think: then answer. # briefly"    --reward.beta 0.3    --stages.first.steps 10

The value of a text key is taken literally. Every other value is parsed as YAML.
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
"""Keys with prompt texts: any word is a valid value, and `none` is not special."""
DEFAULTS = {
    **{"prompting": "plain", "sampling": "fixed", "trim": "none", "reward": "correctness", "advantage": "group_zscore"},
    **{"loss": "clip", "filter": "keep_all", "dataset": "testbed"},
}
"""Default component of each slot, as in `algorithms/objective.py`, so that an override can set one of its parameters."""


@cache
def recipe_keys(section: str = "keys") -> list[str]:
    """All recipe keys, without importing TRL; `text`: only those with a text value."""
    found: dict[str, list[str]] = {}
    for line in (files("tersely.configs") / "recipe_keys.yaml").read_text(encoding="utf-8").splitlines():
        if line.endswith(":"):
            name = line[:-1]
        elif line.startswith("- "):
            found.setdefault(name, []).append(line[2:])
    return found[section]


def parse_value(key: str, text: str) -> Any:
    """Parse the value of `key`. `null` means None for names and choices too, but is literal in a prompt."""
    import yaml

    if is_text(key):
        return None if text in ("null", "~", "") and key.rpartition(".")[2] not in PROSE else text
    if text[:1] not in ("{", "[", '"', "'") and (" #" in text or (": " in text and "." in key)):
        return text  # YAML would cut it at ` #`, or read it as a mapping
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--{key}: invalid YAML value {text!r} ({_reason(error)}). Quote strings") from None


def is_text(key: str) -> bool:
    """True if the key's value is text; for a dotted key, the last part decides: `prompting.instruction`."""
    head, _, last = key.rpartition(".")
    if not head:
        return key in recipe_keys("text")
    return last in recipe_keys("text_parts") or last in recipe_keys("text") or head == "env"


def _reason(error: Exception) -> str:
    return str(getattr(error, "problem", None) or error)


def split_values(text: str) -> list[str]:
    """Split at commas, except inside brackets or quotes. Raises `ConfigError` for brackets that do not match."""
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
                raise ConfigError(f"{text!r}: unmatched {letter!r} at position {index + 1}")
        elif letter == "," and not stack:
            parts.append(text[start:index])
            start = index + 1
    if stack:
        raise ConfigError(f"{text!r}: missing {stack[-1]!r} at the end")
    return [part.strip() for part in [*parts, text[start:]]]


def _closed(text: str, index: int) -> bool:
    """True if the quote has a closing quote; an apostrophe has none."""
    return text[index] in text[index + 1 :]


def unquoted(key: str, text: str) -> str:
    """One part of a list for a text key, without the quotes around its commas."""
    whole = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1] if whole and is_text(key) else text


def set_dotted(recipe: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The recipe with a dotted key such as `reward.beta` set.

    A plain name means `{name: ...}`. A list element is selected by name or index; a list of one needs neither.
    """
    recipe = dict(recipe)
    top, *path = key.split(".")
    if not all([top, *path]):
        raise ConfigError(f"{key!r}: empty part between dots; expected a key such as reward.beta")
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
        raise ConfigError(f"{where}.{'.'.join(path)}: cannot be set, because {where} is {held!r} and has no parameters")
    if first in held:
        held[first] = _set(held[first], rest, value, f"{where}.{first}")
    else:
        held[first] = _set(None, rest, value, f"{where}.{first}")
    return held


def _index(items: list[Any], word: str, where: str) -> int | None:
    """Index of the element that `word` selects; None if `word` is a parameter of the only element."""
    names = [str(item.get("name")) if isinstance(item, Mapping) else str(item) for item in items]
    if word in names and names.count(word) == 1:
        return names.index(word)
    if word.isdigit() and int(word) < len(items):
        return int(word)
    if len(items) == 1:
        return None
    valid = [name for name in names if names.count(name) == 1] or [str(i) for i in range(len(items))]
    raise ConfigError(
        f"{where}.{word}: {where} is a list of {len(items)}. Select one, such as {where}.{(valid or ['0'])[0]}.beta; "
        f"{nearest(word, valid)}"
    )
