"""Evaluation settings, saved with the records; resuming with different settings is an error.

`run.json` is the run card that reports show: name, model, command, environment, and one entry of settings a benchmark.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tersely.core.errors import ConfigError
from tersely.core.seeds import stable_id

CARD = "run.json"
FREE = ("samples", "limit", "budgets")
"""Settings that may grow between two starts: the records that are there stay valid."""


@dataclass(frozen=True)
class Settings:
    """All that decides the text of a sample of one benchmark, beside the coordinates of its seed."""

    model: str
    engine: str
    seed: int
    samples: int
    limit: int | None
    temperature: float
    top_p: float
    top_k: int
    max_new_tokens: int
    instruction: str | None
    system_prompt: str | None
    fingerprint: str
    """Of the benchmark's problems; not compared where the limit changed."""
    chat_template: str = ""
    """Hash of the template and its switches."""
    strategy: dict[str, Any] | None = None
    """Name and every parameter of the decoding strategy; None for plain sampling."""
    chat_template_kwargs: dict[str, Any] | None = None
    prompting_instruction: str | None = None
    """What the trained method's plan adds to the user's message."""
    prefill: str | None = None
    """What the assistant's turn begins with, by the trained method's plan."""
    context: int | None = None
    """Longest sequence, tokens, where it leaves less than the cap behind some prompt; None where it does not."""
    budgets: list[int] | None = None
    """Grid of accuracy at a budget; it changes no sample."""

    def hash(self) -> str:
        """16 hex digits of all that decides the samples: two results of one hash were sampled the same way."""
        values = {key: value for key, value in asdict(self).items() if key not in (*FREE, "engine")}
        return stable_id(json.dumps(values, sort_keys=True, ensure_ascii=False, default=str))


def entry_of(benchmark: str, strategy: str | None) -> str:
    return benchmark if strategy is None else f"{benchmark} + {strategy}"


def refuse_changed(
    card: Mapping[str, Any], folder: Path, run: str, benchmark: str, told: Mapping[str, Any], strategy: str | None
) -> None:
    """`ConfigError` naming the setting in which the records behind `folder`'s card differ from `told`.

    `told` may be a part of all settings, the limit among them.
    """
    if card.get("name") not in (None, run):
        raise ConfigError(f"--out {folder} holds the run {card['name']!r}, not {run!r}; choose another --out")
    entry = entry_of(benchmark, strategy)
    before = card.get("settings", {}).get(entry)
    if before is None:
        return
    now = json.loads(json.dumps(dict(told)))  # as it will be read back: tuples are lists
    free = (*FREE, "fingerprint", "context") if before.get("limit") != now["limit"] else FREE
    changed = [key for key in now if key not in free and key in before and before[key] != now[key]]
    if changed:
        said = "; ".join(f"{key}: {before.get(key)!r} there, {now[key]!r} now" for key in changed)
        raise ConfigError(
            f"--out {folder} holds records of {entry} under other settings ({said}); choose another --out"
        )


def check_and_store(folder: Path, run: str, benchmark: str, settings: Settings, strategy: str | None = None) -> None:
    """Write the card, or raise as `refuse_changed` does."""
    card = read_card(folder)
    refuse_changed(card, folder, run, benchmark, asdict(settings), strategy)
    card = {"name": run, "model": settings.model, **card, **_environment()}
    entry = {entry_of(benchmark, strategy): {**asdict(settings), "hash": settings.hash()}}
    card["settings"] = {**card.get("settings", {}), **entry}
    _write(folder / CARD, card)


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a folder, empty where there is none."""
    path = folder / CARD
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path} is no JSON ({error}); remove it to start the card anew") from error


def _environment() -> dict[str, Any]:
    import shlex

    from tersely.core.environment import environment

    facts = environment()
    command = facts.pop("command", None)
    return {"command": shlex.join(command) if isinstance(command, list) else command, "environment": facts}


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(draft, path)
