"""Checks the components of a cold start and its fields of TRL's SFTConfig."""

from __future__ import annotations

import dataclasses
import difflib
import typing

from tersely.configs.cold_start import WHERE, ColdStart
from tersely.core.build import build
from tersely.core.errors import ConfigError
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
"""Fields of SFTConfig that prepare a dataset or choose a loss; the examples are prepared here."""


def checked(cold_start: ColdStart) -> ColdStart:
    """The settings of a stage after its components were built and the fields of SFTConfig have their types."""
    from trl import SFTConfig

    build_rewrite(cold_start.rewrite, WHERE)
    if cold_start.sft_loss is not None:
        build("sft_loss", cold_start.sft_loss)
    hints = typing.get_type_hints(SFTConfig)
    known = sorted({f.name for f in dataclasses.fields(SFTConfig) if f.init} - SET_HERE.keys() - {*UNREAD})
    values = {}
    for key, value in cold_start.settings.items():
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
    return dataclasses.replace(cold_start, settings=values)
