"""Option parser of the commands: a misspelt option is an error that names the nearest one."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from tersely.configs.overrides import recipe_keys
from tersely.core.errors import ConfigError, nearest, renamed, require_range

LARGEST = 2**32 - 1
"""Of a whole number on a command line: the largest seed of NumPy."""
CHOICE = re.compile(r"invalid choice: '?(.*?)'? \(choose from (.*)\)")


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line: the nearest option or choice, and where the others are."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(self.unknown(unknown))
        return found

    def names(self) -> list[str]:
        """The options, long and short, those of sub-commands too."""
        below = [action.choices.values() for action in self._actions if isinstance(action, argparse._SubParsersAction)]
        return [*self._option_string_actions, *(name for parsers in below for p in parsers for name in p.names())]

    def unknown(self, words: Sequence[str]) -> str:
        """What is wrong with words that nothing took."""
        options = [word.partition("=")[0] for word in words if word.startswith("-")]
        if not options:
            return f"{' '.join(map(repr, words))} stands alone: one argument too many, or an option's name is missing"
        close = difflib.get_close_matches(options[0], self.names(), n=1)
        return f"there is no option {options[0]}" + (f"; did you mean {close[0]}?" if close else "")

    def error(self, message: str) -> NoReturn:
        if found := CHOICE.search(message):
            valid = [word.strip(" '\"") for word in found[2].split(",")]
            message = f"{message[: found.start()]}{found[1]!r} is no choice; {nearest(found[1], valid)}"
        self.exit(2, f"{self.prog}: error: {message} (`{self.prog} --help` lists what there is)\n")


def whole(at_least: int = 0, at_most: int = LARGEST) -> Callable[[str], int]:
    """`type=` of an option that is a whole number."""
    return lambda text: _number(text, int, "a whole number", at_least=at_least, at_most=at_most)


def number(**bounds: float) -> Callable[[str], float]:
    """`type=` of an option that is a number. `bounds`: those of `require_range`; at most 10^12 without another."""
    return lambda text: _number(text, float, "a number", **{"at_most": 1e12, **bounds})


def _number(text: str, kind: Callable[[str], Any], name: str, **bounds: float) -> Any:
    try:
        value = kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected {name}") from None
    try:
        require_range("it", value, **bounds)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return value


def check_keys(recipe: Mapping[str, Any] | Iterable[str], parser: argparse.ArgumentParser) -> None:
    """Raise for a key that is neither a recipe's nor, as it may have been meant, an option of the command."""
    known = set(recipe_keys())
    options = {name.lstrip("-"): name for name in parser._option_string_actions if name.startswith("--")}
    for key in recipe:
        if str(key).partition(".")[0] in known:
            continue
        if new := renamed(str(key).partition(".")[0], known):
            raise ConfigError(f"a recipe has no key {key!r}; {new}")
        close = difflib.get_close_matches(str(key), [*options, *sorted(known)], n=3)
        meant = " or ".join(repr(options.get(word, word)) for word in close)
        raise ConfigError(
            f"a recipe has no key {key!r}, and {parser.prog} no such option; "
            + (f"did you mean {meant}?" if close else f"`{parser.prog} --help` and docs/concepts.md have what there is")
        )


def note(text: str) -> None:
    """A line that the user should read, on the error stream of the first rank."""
    if os.environ.get("RANK", "0") == "0":
        print(f"note: {text}", file=sys.stderr, flush=True)


def recipe_and_overrides(config: str | None, words: Sequence[str]) -> tuple[str, list[str]]:
    """(recipe, the words of its overrides): the recipe is `--config`, or the first word that is no value of an option."""
    words = list(words)
    if config is not None:
        return config, words
    after_key = False
    for index, word in enumerate(words):
        if not word.startswith("--") and not after_key:
            return word, words[:index] + words[index + 1 :]
        after_key = word.startswith("--") and "=" not in word
    raise ConfigError(
        "tersely train needs a recipe: a file, or the name of a shipped one (`tersely recipes` lists them)"
    )


def overrides_from(arguments: Sequence[str]) -> dict[str, Any]:
    """`--key value` pairs; a key without a value is true, and a key may be dotted (`reward.beta`)."""
    from tersely.configs.overrides import parse_value

    overrides: dict[str, Any] = {}
    position = 0
    while position < len(arguments):
        key, found, value = arguments[position].partition("=")
        if not key.startswith("--"):
            raise ConfigError(f"{arguments[position]!r} stands alone; options look like --learning_rate 2e-6")
        position += 1
        if not found and position < len(arguments) and not arguments[position].startswith("--"):
            value, found = arguments[position], "="
            position += 1
        overrides[key[2:]] = parse_value(key[2:], value) if found else True
    return overrides
