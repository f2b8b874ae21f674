"""Checks a loss with teachers against the recipe, the launch and the models, before weights are loaded."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from tersely.algorithms.objective import Objective, teachers_of
from tersely.configs.recipe import Recipe
from tersely.core.build import name_of
from tersely.core.errors import ConfigError
from tersely.core.protocols import loss_chain
from tersely.engines.model_checks import model_config
from tersely.engines.models import model_place

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHANGED_LOGITS = (
    "final_logit_softcapping",
    "logit_scale",
    "output_multiplier",
    "lm_head_multiplier",
    "logits_scaling",
)
"""Keys of a model's config for logits that are not those of the output head."""


def check_teachers(run: Recipe, objective: Objective) -> None:
    """Raise `ConfigError` for teachers that cannot be used. Reads at most the configs of the models."""
    parts = [part for part in loss_chain(objective.loss) if part.teachers]
    if not parts:
        return
    name = name_of("loss", parts[0])
    if len(parts) > 1:
        both = " and ".join(name_of("loss", part) for part in parts)
        raise ConfigError(f"loss: {both} both compare whole distributions; expected one such loss. Remove the other")
    if os.environ.get("ACCELERATE_USE_FSDP") == "true" or run.trl.get("fsdp"):
        raise ConfigError(f"loss {name} does not work under FSDP. Use DeepSpeed, or plain data parallelism")
    trust = bool(run.trl.get("trust_remote_code"))
    policy = _config(run.model_name_or_path, trust)
    for teacher in parts[0].teachers:
        if teacher.model is None:
            continue
        place = model_place(teacher.model)
        if place.level == "fail":
            raise ConfigError(
                f"loss {name}: got the teacher {teacher.model}: {place.text}. {place.fix}".rstrip(". ") + "."
            )
        _require_same_vocabulary(name, teacher.model, _config(teacher.model, trust), policy)


def _config(location: str, trust_remote_code: bool) -> Any:
    """The text part of a model's config; None if it must be downloaded first."""
    if model_place(location).level != "ok":
        return None
    config = model_config(location, trust_remote_code).get_text_config()
    for key in CHANGED_LOGITS:
        if (value := getattr(config, key, None)) not in (None, 1, 1.0):
            raise ConfigError(
                f"{location}: got {key} {value} in its config; a loss that compares distributions needs the plain logits of "
                "the output head. Use another model or another loss"
            )
    return config


def _require_same_vocabulary(name: str, location: str, config: Any, policy: Any) -> None:
    if config is not None and policy is not None and config.vocab_size != policy.vocab_size:
        raise ConfigError(
            f"loss {name}: the teacher {location} has a vocabulary of {config.vocab_size}; expected {policy.vocab_size}, that "
            "of the trained model. Use a model of the same family"
        )


def instructions(objective: Objective) -> list[str]:
    """The teachers' instructions."""
    return [teacher.instruction for teacher in teachers_of(objective) if teacher.instruction]


def longest_instruction(objective: Objective, tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens that the longest instruction of a teacher adds to a prompt."""
    texts = [f"{instruction}\n\n" for instruction in instructions(objective)]
    return max((len(tokenizer.encode(text, add_special_tokens=False)) for text in texts), default=0)
