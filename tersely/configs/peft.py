"""The `peft:` section of a recipe: trains an adapter and keeps the model's weights fixed.

    peft: {rank: 32, alpha: 64}
    peft: {method: steering}

LoRA (arXiv 2106.09685): a linear layer W becomes W + (alpha / rank) B A, with A (rank, in) random and B (out, rank) zero at
the start. DoRA (arXiv 2402.09353) also trains the length of each row of the sum.

Steering (arXiv 2505.18706, 2509.06608): h becomes h + s after a layer, at every position, with one vector s (hidden size) per
layer, zero at the start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tersely.core.errors import ConfigError, check_fields, require_mapping, require_range

KEY = "peft"
ALL = "all"
ALL_LINEAR = "all-linear"
STEERING = "steering"
LOW_RANK_ONLY, STEERING_ONLY = ("rank", "alpha", "dropout", "targets"), ("layers",)
"""Keys that only one kind of adapter has."""

SPELLINGS = {
    **dict.fromkeys(("r", "lora_r", "lora_rank"), "rank"),
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    **dict.fromkeys(("target_modules", "lora_target_modules"), "targets"),
    **dict.fromkeys(("use_dora", "dora"), "method: dora"),
    **dict.fromkeys(("use_rslora", "rslora"), "alpha, as alpha * sqrt(rank)"),
    "peft_type": "method",
}
"""Spelling of TRL, peft or another trainer -> key of this section."""

RECIPE_SPELLINGS = {
    **{name: f"{KEY}: {{{ours}}}" for name, ours in SPELLINGS.items() if name != "r"},
    **dict.fromkeys(("use_peft", "peft_config", "lora", "adapter"), f"{KEY}: {{rank: 16}}"),
}
"""The same, as a key of the recipe."""


@dataclass(frozen=True)
class PeftSpec:
    """Settings of the adapter, for all stages of a run."""

    method: Literal["lora", "dora", "steering"] = "lora"
    """`dora` also trains a magnitude for each output of a layer; its steps are slower. `steering` trains one vector
    per layer."""
    rank: int = 16
    """Rank of the update of each layer."""
    alpha: float = 32.0
    """The update is scaled by alpha / rank."""
    dropout: float = 0.0
    """Dropout before A. With dropout, the old and the current policy of an RL step have different log-probs for the same
    weights, so the ratio is noise; leave it at 0 there."""
    targets: str | tuple[str, ...] = ALL_LINEAR
    """`all-linear`: every linear layer but the output head. Or a list of names, such as [q_proj, v_proj]."""
    layers: str | tuple[int, ...] = ALL
    """Of `steering`: `all`, or a list of decoder layers that get a vector, such as [0, 5]; 0 is the first."""

    def __post_init__(self) -> None:
        require_range(f"{KEY}.rank", self.rank, at_least=1, at_most=4096)
        require_range(f"{KEY}.alpha", self.alpha, above=0)
        require_range(f"{KEY}.dropout", self.dropout, at_least=0, below=1)
        if isinstance(self.targets, str) and self.targets != ALL_LINEAR:
            raise ConfigError(f"{KEY}.targets: got {self.targets!r}; expected {ALL_LINEAR}, or a list of names")
        if not self.targets:
            raise ConfigError(f"{KEY}.targets: got no names; expected {ALL_LINEAR}, or a list of names")
        if self.layers != ALL and (isinstance(self.layers, str) or not self.layers or min(self.layers) < 0):
            raise ConfigError(f"{KEY}.layers: got {self.layers!r}; expected {ALL}, or a list of layers, the first is 0")
        if self.layers != ALL:
            object.__setattr__(self, "layers", tuple(sorted(set(self.layers))))

    @classmethod
    def of(cls, section: Any) -> PeftSpec | None:
        """The adapter of a recipe's section; None without one."""
        if section is None or isinstance(section, cls):
            return section
        require_mapping(KEY, section, "{rank: 16}, or null")
        for key in section:
            if key in SPELLINGS:
                raise ConfigError(f"{KEY}: unknown parameter {key!r}; set {SPELLINGS[key]} instead")
        found = cls(**check_fields(cls, section, KEY))
        for key in LOW_RANK_ONLY if found.method == STEERING else STEERING_ONLY:
            if key in section:
                raise ConfigError(f"{KEY}.{key}: got {section[key]!r}; method {found.method} has none. Remove it")
        return found


def require_our_spelling(key: str) -> None:
    """Raise for a recipe key that is another trainer's name for a part of this section."""
    if key in RECIPE_SPELLINGS:
        raise ConfigError(f"unknown recipe key {key!r}; set {RECIPE_SPELLINGS[key]} instead")
