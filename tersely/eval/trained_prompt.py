"""The prompting of an evaluation: that of the training, unless the command line overrides it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tersely.core.errors import ConfigError
from tersely.core.paths import expanded
from tersely.engines.chat import Prompting, read_prompting

PROMPTING_STRATEGIES = ("prompting", "budget_prompt")
"""Decoding strategies that state an instruction of their own in place of the trained prompting's."""


def saved_prompting(*places: str | None) -> tuple[Prompting, str | None]:
    """The first prompting saved in one of the folders, and where; an empty one and None where there is none."""
    for place in places:
        if place and Path(expanded(place)).exists() and (found := read_prompting(place)) is not None:
            return found, str(place)
    return Prompting(), None


def chosen_prompting(
    model: str, tokenizer: str | None, source: str | None, chat_template_kwargs: Mapping[str, Any] | None
) -> tuple[Prompting, str | None]:
    """(prompting, where it is from). `source`: another model's folder, `none`, or None for the model's own."""
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
    """(instruction, system prompt) of a benchmark: those given, else the trained ones.

    A benchmark that asks for an answer format in a sentence of its own keeps it. None leaves the benchmark's default.
    """
    if instruction is None and not benchmark.source.instruction:
        instruction = prompting.instruction
    return instruction, prompting.system_prompt if system_prompt is None else system_prompt


def prompt_line(prompting: Prompting, where: str | None, given: Mapping[str, Any]) -> str | None:
    """One line that says which prompt is used; None where nothing but the benchmark's own is."""
    overridden = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
    if where is None and not overridden:
        return None
    words = f"as trained ({where}): {prompting.words()}" if where else "the benchmark's own"
    return f"prompt: {words}" + (f"; overridden by {', '.join(overridden)}" if overridden else "")


def for_strategy(prompting: Prompting, strategy: str) -> Prompting:
    """Without the prompting component's part where a decoding strategy states its own."""
    return prompting.without_prompting() if strategy in PROMPTING_STRATEGIES else prompting
