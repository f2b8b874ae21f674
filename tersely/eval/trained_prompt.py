"""Selects the prompting of an evaluation: as in training, unless the command line overrides it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tersely.core.errors import ConfigError
from tersely.core.paths import expanded
from tersely.engines.chat import Prompting, read_prompting

PROMPTING_STRATEGIES = ("prompting", "budget_prompt")
"""Decoding strategies that replace the trained prompting's instruction."""


def saved_prompting(*places: str | None) -> tuple[Prompting, str | None]:
    """(the first prompting saved in one of the folders, its folder); (an empty one, None) if there is none."""
    for place in places:
        if place and Path(expanded(place)).exists() and (found := read_prompting(place)) is not None:
            return found, str(place)
    return Prompting(), None


def chosen_prompting(
    model: str, tokenizer: str | None, source: str | None, chat_template_kwargs: Mapping[str, Any] | None
) -> tuple[Prompting, str | None]:
    """(prompting, its origin). `source`: another model's folder, `none`, or None for the model's own."""
    if source == "none":
        found, where = Prompting(), None
    elif source is None:
        found, where = saved_prompting(model, tokenizer)
    else:
        found, where = saved_prompting(source)
        if where is None:
            raise ConfigError(
                f"--prompting: got {source}; expected a trained model's folder with a prompting.json, or `none`"
            )
    if chat_template_kwargs is not None:
        found = replace(found, chat_template_kwargs=dict(chat_template_kwargs))
    return found, where


def asked(
    prompting: Prompting, benchmark: Any, instruction: str | None = None, system_prompt: str | None = None
) -> tuple[str | None, str | None]:
    """(instruction, system prompt) of a benchmark: the given ones, else the trained ones.

    A benchmark whose instruction requests an answer format keeps it. None means the benchmark's default.
    """
    if instruction is None and not benchmark.source.instruction:
        instruction = prompting.instruction
    return instruction, prompting.system_prompt if system_prompt is None else system_prompt


def prompt_line(prompting: Prompting, where: str | None, given: Mapping[str, Any]) -> str | None:
    """One line that describes the prompt; None for the benchmark's default."""
    overridden = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
    if where is None and not overridden:
        return None
    words = f"as trained ({where}): {prompting.words()}" if where else "the benchmark's prompt"
    return f"prompt: {words}" + (f"; overridden by {', '.join(overridden)}" if overridden else "")


def for_strategy(prompting: Prompting, strategy: str) -> Prompting:
    """The prompting without its instruction, if the decoding strategy replaces it."""
    return prompting.without_prompting() if strategy in PROMPTING_STRATEGIES else prompting
