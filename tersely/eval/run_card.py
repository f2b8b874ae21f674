"""Evaluation settings, saved with the records; resuming with different settings is an error.

`run.json` is the run card that reports show: name, model, command, environment, and one entry of settings per benchmark.
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
"""Settings that may increase between two starts; existing records stay valid."""


@dataclass(frozen=True)
class Settings:
    """All settings that determine the samples of one benchmark, apart from the coordinates of the seeds."""

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
    """Fingerprint of the benchmark's problems; not compared if the limit changed."""
    chat_template: str = ""
    """Hash of the chat template and its variables."""
    strategy: dict[str, Any] | None = None
    """Name and all parameters of the decoding strategy; None for vanilla sampling."""
    chat_template_kwargs: dict[str, Any] | None = None
    prompting_instruction: str | None = None
    """Text that the trained prompting appends to the user's message."""
    prefill: str | None = None
    """Prefill of the assistant's turn from the trained prompting."""
    context: int | None = None
    """Longest sequence in tokens, if it leaves less than the cap after some prompt; None otherwise."""
    scorer: dict[str, Any] | None = None
    """Name and threshold of the benchmark's scorer; None for the verifier's comparison."""
    budgets: list[int] | None = None
    """Token grid for accuracy at a budget; does not affect samples."""

    def hash(self) -> str:
        """16 hex digits over all settings that determine the samples: equal hashes mean equal sampling."""
        values = {key: value for key, value in asdict(self).items() if key not in (*FREE, "engine")}
        if self.scorer is None:  # as in the cards of benchmarks before there were scorers
            del values["scorer"]
        return stable_id(json.dumps(values, sort_keys=True, ensure_ascii=False, default=str))


def entry_of(benchmark: str, strategy: str | None) -> str:
    return benchmark if strategy is None else f"{benchmark} + {strategy}"


def refuse_changed(
    card: Mapping[str, Any], folder: Path, run: str, benchmark: str, current: Mapping[str, Any], strategy: str | None
) -> None:
    """Raise `ConfigError` with the settings that differ between the card of `folder` and `current`.

    `current` may be a subset of all settings, but must have the limit.
    """
    if card.get("name") not in (None, run):
        raise ConfigError(f"--out: {folder} has the run {card['name']!r}; expected {run!r}. Choose another --out")
    entry = entry_of(benchmark, strategy)
    before = card.get("settings", {}).get(entry)
    if before is None:
        return
    now = json.loads(json.dumps(dict(current)))  # as read from the file: tuples become lists
    free = (*FREE, "fingerprint", "context") if before.get("limit") != now["limit"] else FREE
    changed = [key for key in now if key not in free and key in before and before[key] != now[key]]
    if changed:
        differences = "; ".join(f"{key}: {before.get(key)!r} there, {now[key]!r} now" for key in changed)
        raise ConfigError(
            f"--out: {folder} has records of {entry} with other settings ({differences}). Choose another --out"
        )


def check_and_store(folder: Path, run: str, benchmark: str, settings: Settings, strategy: str | None = None) -> None:
    """Write the card; raises like `refuse_changed`."""
    card = read_card(folder)
    refuse_changed(card, folder, run, benchmark, asdict(settings), strategy)
    card = {"name": run, "model": settings.model, **card, **_environment()}
    entry = {entry_of(benchmark, strategy): {**asdict(settings), "hash": settings.hash()}}
    card["settings"] = {**card.get("settings", {}), **entry}
    _write(folder / CARD, card)


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a folder; empty if there is none."""
    path = folder / CARD
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: invalid JSON ({error}). Remove it to create a new card") from error


def _environment() -> dict[str, Any]:
    import shlex

    from tersely.core.environment import environment

    machine = environment()
    command = machine.pop("command", None)
    return {"command": shlex.join(command) if isinstance(command, list) else command, "environment": machine}


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(draft, path)
