"""Argument parser of the commands: errors are one line and suggest the nearest option or choice."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tersely.configs.overrides import recipe_keys
from tersely.configs.peft import require_our_spelling
from tersely.core.errors import ConfigError, renamed, require_range
from tersely.core.logging import is_main_process

LARGEST = 2**32 - 1
"""Largest whole number on a command line: the largest NumPy seed."""
CHOICE = re.compile(r"invalid choice: '?(.*?)'? \(choose from (.*)\)")


class Parser(argparse.ArgumentParser):
    """`ArgumentParser` with one-line errors that suggest the nearest option or choice."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(self.unknown(unknown))
        return found

    def names(self) -> list[str]:
        """All option strings, including those of sub-commands."""
        below = [action.choices.values() for action in self._actions if isinstance(action, argparse._SubParsersAction)]
        return [*self._option_string_actions, *(name for parsers in below for p in parsers for name in p.names())]

    def unknown(self, words: Sequence[str]) -> str:
        """Error message for arguments that the parser did not recognise."""
        options = [word.partition("=")[0] for word in words if word.startswith("-")]
        if not options:
            return f"unexpected argument {' '.join(map(repr, words))}"
        close = difflib.get_close_matches(options[0], self.names(), n=1)
        return f"unrecognized arguments: {options[0]}" + (f"; did you mean {close[0]}?" if close else "")

    def error(self, message: str) -> NoReturn:
        if found := CHOICE.search(message):
            valid = [word.strip(" '\"") for word in found[2].split(",")]
            close = difflib.get_close_matches(found[1], valid, n=1, cutoff=0.5)
            message += f"; did you mean {close[0]!r}?" if close else ""
        self.exit(2, f"{self.prog}: error: {message} (see `{self.prog} --help`)\n")


def whole(at_least: int = 0, at_most: int = LARGEST) -> Callable[[str], int]:
    """`type=` for a whole-number option."""
    return lambda text: _number(text, int, "a whole number", at_least=at_least, at_most=at_most)


def number(**bounds: float) -> Callable[[str], float]:
    """`type=` for a number option. `bounds`: as in `require_range`; the default maximum is 10^12."""
    return lambda text: _number(text, float, "a number", **{"at_most": 1e12, **bounds})


def _number(text: str, kind: Callable[[str], Any], name: str, **bounds: float) -> Any:
    try:
        value = kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected {name}") from None
    try:
        require_range("value", value, **bounds)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error).partition(": ")[2]) from None
    return value


def check_keys(recipe: Mapping[str, Any] | Iterable[str], parser: argparse.ArgumentParser) -> None:
    """Raise for a key that is neither a recipe key nor an option of the command."""
    known = set(recipe_keys())
    options = {name.lstrip("-"): name for name in parser._option_string_actions if name.startswith("--")}
    for key in recipe:
        if str(key).partition(".")[0] in known:
            continue
        require_our_spelling(str(key).partition(".")[0])
        if new := renamed(str(key).partition(".")[0], known):
            raise ConfigError(f"unknown recipe key {key!r}; {new}")
        close = difflib.get_close_matches(str(key), [*options, *sorted(known)], n=3)
        suggested = " or ".join(repr(options.get(word, word)) for word in close)
        raise ConfigError(
            f"{key!r} is neither a recipe key nor an option of {parser.prog}; "
            + (f"did you mean {suggested}?" if close else f"see `{parser.prog} --help` and docs/concepts.md")
        )


def note(text: str) -> None:
    """Print a note to stderr, on rank 0 only."""
    if is_main_process():
        print(f"note: {text}", file=sys.stderr, flush=True)


def recipe_and_overrides(config: str | None, words: Sequence[str]) -> tuple[str, list[str]]:
    """(recipe, override arguments): the recipe is `--config`, or the first argument that is not an option's value."""
    words = list(words)
    if config is not None:
        return config, words
    after_key = False
    for index, word in enumerate(words):
        if not word.startswith("--") and not after_key:
            return word, words[:index] + words[index + 1 :]
        after_key = word.startswith("--") and "=" not in word
    raise ConfigError(
        "tersely train: missing RECIPE, a file or the name of a shipped recipe (`tersely recipes` lists them)"
    )


def overrides_from(arguments: Sequence[str]) -> dict[str, Any]:
    """Parse `--key value` pairs; a key without a value is true, and a key may be dotted (`reward.beta`)."""
    from tersely.configs.overrides import parse_value

    overrides: dict[str, Any] = {}
    position = 0
    while position < len(arguments):
        key, found, value = arguments[position].partition("=")
        if not key.startswith("--"):
            raise ConfigError(f"unexpected argument {arguments[position]!r}; options look like --learning_rate 2e-6")
        position += 1
        if not found and position < len(arguments) and not arguments[position].startswith("--"):
            value, found = arguments[position], "="
            position += 1
        overrides[key[2:]] = parse_value(key[2:], value) if found else True
    return overrides


def require_jsonl(option: str, path: Path) -> None:
    """Raise `ConfigError` for the name of an output that does not end in .jsonl, or is a folder."""
    if path.suffix != ".jsonl" or path.is_dir():
        raise ConfigError(f"{option}: got {str(path)!r}; expected a file that ends in .jsonl")
