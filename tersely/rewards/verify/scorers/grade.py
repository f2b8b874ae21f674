"""Scores of answers: payloads, import of a scorer, and the verdict of a score.

A scorer is a function (answer text, row) -> bool, number or None, see `tersely.configs.scorer`. A payload is the text with
the scorer's name, its threshold and the row, which a worker reads.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from tersely.configs.scorer import BUILT_IN, ScorerSpec
from tersely.core.errors import ConfigError, one_line
from tersely.rewards.verify.scorers.exact_json import decode, encode

Scorer = Callable[[str, dict[str, Any]], Any]

TOLERANCE = 1e-9
"""A score this far below the threshold still counts, because sums of parts such as 0.1 * 10 round."""
TRIAL_SECONDS = 30.0


def payload_of(spec: ScorerSpec, row: Mapping[str, Any]) -> str:
    """The data that a worker needs to grade an answer of a row, as text."""
    return json.dumps({"scorer": spec.name, "threshold": spec.threshold, "row": encode(dict(row))})


def name_in(payload: str) -> str:
    """The scorer's name in a payload."""
    return str(json.loads(payload)["scorer"])


def load_scorer(name: str) -> Scorer:
    """The function of a scorer. Raises `ConfigError` if it cannot be imported or is not callable."""
    module_name, _, attribute = BUILT_IN.get(name, name).partition(":")
    try:
        found: Any = import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:  # the module's code can raise anything
        raise ConfigError(
            f"scorer: cannot import {name!r} ({type(error).__name__}: {one_line(error)}); expected "
            "package.module:function. Check that the package is installed or on PYTHONPATH"
        ) from error
    if not callable(found):
        raise ConfigError(f"scorer: got {name!r}, a {type(found).__name__}; expected a function of (answer, row)")
    return found


def status_of(score: Any, threshold: float) -> tuple[str, str]:
    """(status, path) of a score. A score that is neither a number nor a truth value is undecided."""
    if score is None:
        return "undecided", "scorer:none"
    try:
        number = float(score) if not isinstance(score, str | bytes) else None
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None:
        return "undecided", f"scorer:{type(score).__name__}"
    if math.isnan(number):
        return "undecided", "scorer:nan"
    return ("correct" if number >= threshold - TOLERANCE else "incorrect"), "scorer"


def grade(function: Scorer, payload: Mapping[str, Any], answer: str) -> tuple[str, str]:
    """(status, path) of an answer; undecided if the scorer raises. `payload`: the parsed text of `payload_of`."""
    try:
        score = function(answer, decode(payload["row"]))
    except (MemoryError, RecursionError):
        raise
    except BaseException as error:  # also SystemExit, which must not end the worker's group
        return "undecided", f"error:{type(error).__name__}"
    return status_of(score, payload["threshold"])


def try_scorer(spec: ScorerSpec, row: Mapping[str, Any], gold: str) -> str | None:
    """Grade a reference answer in this process, with a time limit; returns why the scorer refuses it, None if it does not.

    Raises `ConfigError` for a scorer that raises, hangs, or returns something other than a number, bool or None.
    """
    function = load_scorer(spec.name)
    payload = json.loads(payload_of(spec, row))
    result: dict[str, Any] = {}

    def call() -> None:
        try:
            result["score"] = function(gold, decode(payload["row"]))
        except BaseException as error:
            result["error"] = error

    thread = threading.Thread(target=call, name="scorer trial", daemon=True)
    thread.start()
    thread.join(TRIAL_SECONDS)
    where = f"scorer {spec.name}, on the reference answer {gold[:60]!r}"
    if thread.is_alive():
        raise ConfigError(f"{where}: no score after {TRIAL_SECONDS:g} s")
    if "error" in result:
        error = result["error"]
        raise ConfigError(f"{where}: {type(error).__name__}: {one_line(error)}. A scorer takes (answer text, row)")
    status, path = status_of(result["score"], spec.threshold)
    if status == "undecided" and path not in ("scorer:none", "scorer:nan"):
        raise ConfigError(f"{where}: returned {result['score']!r}; expected a number, a bool or None")
    if status == "correct":
        return None
    return f"its scorer {spec.name} refuses it (score {result['score']}, threshold {spec.threshold:g})"
