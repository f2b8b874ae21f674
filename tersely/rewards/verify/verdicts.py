"""Verdicts on the rows of a data set, from any verifier."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from tersely.core.errors import ConfigError
from tersely.core.heartbeat import beat
from tersely.core.verifier import AnswerVerdict, AnswerVerifier


def verdicts_of(verifier: AnswerVerifier, rows: Sequence[dict[str, Any]], texts: Sequence[str]) -> list[AnswerVerdict]:
    """One verdict per row, against its `answer`. A verifier that takes prompts, such as a judge, also gets its `problem`.

    A row with a payload in `scorer` is graded by that scorer. Raises `ConfigError` for a verifier that takes no scorers.
    """
    golds, prompts = [row["answer"] for row in rows], [row["problem"] for row in rows]
    takes = inspect.signature(verifier.verify).parameters
    options: dict[str, Any] = {"progress": lambda decided: beat()} if "progress" in takes else {}
    if "prompts" in takes:
        options["prompts"] = prompts
    scorers = [row.get("scorer") for row in rows]
    if any(scorers):
        if "scorers" not in takes:
            raise ConfigError(
                f"verifier: {type(verifier).__name__}.verify has no parameter `scorers`, but the data has a scorer. Add it, "
                "or set `scorer: verifier` in the data set"
            )
        options["scorers"] = [scorer or None for scorer in scorers]
    return verifier.verify(golds, list(texts), **options)
