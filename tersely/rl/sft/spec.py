"""The settings of a cold start stage, as a checked dataclass."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from dataclasses import dataclass, field
from typing import Any

from tersely.configs.recipe import Stage
from tersely.core.errors import ConfigError, check_fields, require_range
from tersely.rl.config.field_values import field_value
from tersely.rl.sft.rewrites import build_rewrite
from tersely.rl.trl.unused_fields import LEFT_OUT, NEVER_READ

SET_HERE = {
    "max_steps": "steps",
    "num_train_epochs": "steps",
    "per_device_train_batch_size": "batch_size",
    "output_dir": "run_dir",
    "model_init_kwargs": "model_init_kwargs of the recipe",
    **dict.fromkeys(("max_length", "remove_unused_columns", "dataset_kwargs"), "nothing"),
}
"""Field of SFTConfig -> our key that sets it."""


UNREAD = (
    *("packing", "packing_strategy", "padding_free", "eval_packing", "dataset_num_proc", "dataset_text_field"),
    *("assistant_only_loss", "completion_only_loss", "chat_template_path", "eos_token", "pad_token", "loss_type"),
    *("shuffle_dataset", "truncation_mode", "pad_to_multiple_of"),
)
"""Fields of SFTConfig that prepare a data set or choose a loss; the examples are prepared here."""


@dataclass(frozen=True)
class ColdStart:
    """Settings of a stage of kind `sft`, in addition to name and steps."""

    rewrite: Any = "plain"
    prompts: int = 256
    """Number of prompts to sample, from the start of the dataset."""
    samples: int = 4
    """Samples per prompt."""
    temperature: float = 1.0
    batch_size: int = 16
    """Examples per step on each rank."""
    sft_loss: Any = None
    """A component of `SFT_LOSSES`; null for the weighted mean over tokens."""
    settings: dict = field(default_factory=dict)
    """Fields of TRL's SFTConfig by name."""

    def __post_init__(self) -> None:
        for name in ("prompts", "samples", "batch_size"):
            require_range(f"cold start {name}", getattr(self, name), at_least=1, at_most=2**30)
        require_range("cold start temperature", self.temperature, above=0, at_most=100)

    @classmethod
    def of(cls, stage: Stage) -> ColdStart:
        """The checked keys of a stage."""
        from trl import SFTConfig

        from tersely.core.build import build

        where = "cold start"
        spec = cls(**check_fields(cls, stage.cold_start, where=where))
        build_rewrite(spec.rewrite, where)
        if spec.sft_loss is not None:
            build("sft_loss", spec.sft_loss)
        hints = typing.get_type_hints(SFTConfig)
        known = sorted({f.name for f in dataclasses.fields(SFTConfig) if f.init} - SET_HERE.keys() - {*UNREAD})
        values = {}
        for key, value in spec.settings.items():
            if key in SET_HERE:
                raise ConfigError(f"settings: {key} is already set. Use {SET_HERE[key]} instead")
            if key in UNREAD or key in LEFT_OUT or key in NEVER_READ:
                raise ConfigError(f"settings: TRL option {key} has no effect here. Remove it")
            if key not in known:
                close = difflib.get_close_matches(str(key), known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else "expected a key of TRL's SFTConfig"
                raise ConfigError(f"settings: unknown key {key!r}; {hint}")
            try:
                values[key] = field_value(key, value, hints[key])
            except ConfigError as error:
                raise ConfigError(f"settings: {error}") from error
        return dataclasses.replace(spec, settings=values)

    def table(self) -> str:
        return "\n".join(f"{name:>18} {value!s:>8}" for name, value in vars(self).items() if name != "settings")
