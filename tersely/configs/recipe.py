"""`Recipe`: the checked configuration of a training run, parsed once by `tersely.configs.load.load_recipe`.

Its attributes are the keys of the YAML. Fields of TRL's GRPOConfig are in `trl`, with TRL's names and as written;
`tersely.rl.config.checked` checks them against the installed TRL. Nothing here imports torch or TRL.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tersely.configs.cold_start import ColdStart
from tersely.configs.dataset import SourceSpec, parse_sources
from tersely.configs.evaluation import EvaluationSpec
from tersely.configs.guards import Guards
from tersely.configs.overrides import DEFAULTS, recipe_keys
from tersely.configs.peft import PeftSpec, require_our_spelling
from tersely.configs.stages import StageError, resolved_stages
from tersely.configs.thinking_budget import ThinkingBudget
from tersely.configs.verifier import VerifierSpec
from tersely.core.component_spec import ComponentSpec
from tersely.core.errors import ConfigError, check_fields, renamed, require_range

DERIVED = {
    "num_generations": "group_size",
    "per_device_train_batch_size": "micro_batch",
    "gradient_accumulation_steps": "updates_per_batch",
    "steps_per_generation": "micro_batch",
    "generation_batch_size": "prompts_per_step",
    "output_dir": "run_dir",
    "loss_type": "aggregate and loss",
    "epsilon": "loss {name: clip, clip_low}",
    "epsilon_high": "loss {name: clip, clip_high}",
    "delta": "loss {name: clip, dual_clip}",
    "scale_rewards": "advantage",
    "importance_sampling_level": "loss {name: clip, importance}",
    "reward_weights": "reward [{name, weight}]",
    "use_vllm": "engine",
    "temperature": "sampling {name: fixed, temperature}",
    "top_entropy_quantile": "loss {name: high_entropy_mask}",
    "gap_limit": "guards {mismatch: {threshold}}",
    "undecided_limit": "guards {undecided: {threshold}}",
}
"""TRL field -> our key or component that sets it."""

TRL_LOSS_TYPES = ("luspo", "vespo")
"""Values of `loss_type` that use TRL's own loss instead of the slots loss and aggregate."""

LARGEST_BATCH = 2**20
"""Maximum of each batch size; a larger value is assumed to be a typo."""

SECTIONS: dict[str, Callable[[Any], Any]] = {
    "dataset": parse_sources,
    "verifier": VerifierSpec.of,
    "guards": Guards.of,
    "thinking_budget": ThinkingBudget.of,
    "peft": PeftSpec.of,
    "evaluation": EvaluationSpec.of,
}
"""Keys with a section of their own, and the functions that parse them."""

ONE, SEVERAL = ("prompting", "sampling", "trim", "advantage", "loss", "filter"), ("reward", "controllers")
"""Slots with one component, and slots with a list of components."""


@dataclass(frozen=True)
class Stage:
    """One stage of a run: the recipe with the stage's slots and settings."""

    name: str | None
    """None for the only stage of a recipe without stages."""
    kind: str
    """`rl`, or `sft` for a cold start."""
    recipe: Recipe
    cold_start: ColdStart | None
    """Settings of a stage of kind `sft`; None for `rl`."""
    first_step: int
    """Optimizer steps of the earlier stages."""
    steps: int
    folder: Path

    @property
    def final(self) -> Path:
        return self.folder / "final"

    @property
    def title(self) -> str:
        return f"stage {self.name}: steps {self.first_step + 1} to {self.first_step + self.steps}"

    def changes(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        """Values of this stage that differ from the recipe."""
        values_of_stage = {
            **self.recipe.to_dict(),
            **({"cold_start": self.cold_start.to_dict()} if self.cold_start else {}),
        }
        return {key: value for key, value in values_of_stage.items() if recipe.get(key) != value}

    def after(self, previous: Stage | None) -> Stage:
        """The same stage, starting from the weights of `previous`."""
        if previous is None:
            return self
        model = str(previous.final)
        written = {**self.recipe.written, "model_name_or_path": model}
        return dataclasses.replace(
            self, recipe=dataclasses.replace(self.recipe, model_name_or_path=model, written=written)
        )


@dataclass(frozen=True)
class Recipe:
    """A checked recipe. `Recipe.of(values)` parses one, `to_dict()` returns the values as written."""

    model_name_or_path: str
    """Hub id, local folder, or `testbed`, the embedded tiny model."""
    dataset: tuple[SourceSpec, ...] = field(default_factory=lambda: tuple(parse_sources(DEFAULTS["dataset"])))
    """One source of problems, or a list of them."""
    run_dir: str = "runs/run"
    """Folder of the run: checkpoints, metrics, completions, the final weights."""
    method: str | None = None
    """Preset of the slots; recorded, not read."""
    prompting: ComponentSpec | None = None
    """Sets instruction, budget, mode and prefill of each rollout; `plain` by default."""
    sampling: ComponentSpec | None = None
    """Sets the temperature of each token; `fixed` by default."""
    trim: ComponentSpec | None = None
    """Cuts rows after sampling, which are then verified again; `none` by default."""
    reward: tuple[ComponentSpec, ...] | None = None
    """One reward term, or a list of terms whose weighted values are added; `correctness` by default."""
    advantage: ComponentSpec | None = None
    """Computes the weight of each rollout or token from the rewards of a group; `group_zscore` by default."""
    loss: ComponentSpec | None = None
    """Computes the loss of each token; `clip` by default."""
    filter: ComponentSpec | None = None
    """Selects the groups to train on; `keep_all` by default."""
    aggregate: str = "token"
    """Reduces per-token losses to one number."""
    controllers: tuple[ComponentSpec, ...] = ()
    """Adjust coefficients of the objective during the run."""
    stages: tuple[Stage, ...] = ()
    """Stages of the run, one if the YAML has none; empty in the recipe of a stage."""
    prompts_per_step: int = 8
    """Prompts per generation batch, over all ranks."""
    group_size: int = 8
    """Rollouts per prompt."""
    micro_batch: int = 8
    """Rows per forward pass on one rank."""
    updates_per_batch: int = 1
    """Optimizer steps per generation batch."""
    max_resample_rounds: int = 0
    """Maximum rounds of resampling, which replaces filtered groups by new prompts; 0 trains with fewer groups."""
    max_oversampling: float = 1.0
    """Largest number of groups generated per group of the batch; predicted from the share that the filter kept. 1: no more."""
    mask_truncated: bool = False
    """Leave rollouts that are stopped by the cap out of the loss; their rewards stay in the baseline of their group."""
    max_rollbacks: int = 2
    """Maximum rollbacks of a stage to its last good checkpoint (`tersely.rl.checkpoints.rollback`) before the run stops."""
    micro_batching: Literal[True, False, "always"] = True
    """Token-balanced micro-batches without rows that have no signal; `always`: even if the loss has micro-batch statistics."""
    engine: str = "transformers"
    """`transformers`, `vllm` (in the trainer's process) or `vllm_server` (at the addresses of `servers`)."""
    servers: tuple[str, ...] = ()
    """Addresses of vLLM servers (http://127.0.0.1:8000) that see run_dir under the same path; the launchers can start them."""
    max_num_seqs: int = 256
    """Number of sequences that a vLLM engine or server decodes at once; more need more cache."""
    instruction: str | None = None
    """Instruction appended to every problem."""
    system_prompt: str | None = None
    """The system message of every prompt."""
    thinking_budget: ThinkingBudget | None = None
    """Thinking tokens after which the end of thinking is written for a rollout, and its answer; null for none."""
    peft: PeftSpec | None = None
    """Adapter that is trained instead of all weights; null trains all weights."""
    verifier: VerifierSpec = field(default_factory=VerifierSpec)
    """Parameters of the verifier and its judge."""
    guards: Guards = field(default_factory=Guards)
    """Guards of the run; on with their defaults unless set here; false disables one."""
    deadline_seconds: float = 1800.0
    """Maximum seconds without progress: no finished request, no micro-batch, no new phase on any rank."""
    preflight: bool = True
    """Run the fast checks at the start, see `tersely.launch.preflight.static`."""
    evaluation: EvaluationSpec | None = None
    """Evaluation on held-out problems during training; none unless set."""
    env: dict = field(default_factory=dict)
    """Environment variables exported before anything is loaded."""
    trl: Mapping[str, Any] = field(default_factory=dict)
    """Fields of TRL's GRPOConfig that the recipe sets, by TRL's names."""
    written: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """The whole recipe as written; it is saved, printed, and compared on `--resume`."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Recipe:
        """Parse a resolved recipe and its stages. Raises `ConfigError` with the key, and the nearest one for an unknown key."""
        recipe = cls._one(values)
        stages = tuple(_stage(found, cls) for found in resolved_stages(values, recipe.run_dir))
        return dataclasses.replace(recipe, stages=stages)

    @classmethod
    def _one(cls, values: Mapping[str, Any]) -> Recipe:
        """The recipe without its stages."""
        ours: dict[str, Any] = {}
        trl: dict[str, Any] = {}
        known = set(recipe_keys())
        for key, value in values.items():
            if key in DERIVED and not (key == "loss_type" and value in TRL_LOSS_TYPES):
                raise ConfigError(f"{key} is computed from other keys. Set {DERIVED[key]} instead")
            if key not in known:
                require_our_spelling(str(key))
                raise ConfigError(f"unknown recipe key {key!r}; {_nearest_key(str(key), known - DERIVED.keys())}")
            if key in KEYS:
                ours[key] = value
            else:
                trl[key] = value
        ours.pop("stages", None)
        for slot in ONE:
            if ours.get(slot) is not None:
                ours[slot] = ComponentSpec.of(slot, ours[slot])
        for slot in SEVERAL:
            if isinstance(listed := ours.get(slot), list | tuple):
                ours[slot] = tuple(ComponentSpec.of(slot.removesuffix("s"), one) for one in listed)
            elif slot == "reward" and listed is not None:
                ours[slot] = (ComponentSpec.of(slot, listed),)
        for section, parse in SECTIONS.items():
            if section in ours:
                ours[section] = parse(ours[section])
        recipe = cls(**check_fields(cls, ours, where="recipe"), trl=trl, written=dict(values))
        recipe._check()
        return dataclasses.replace(recipe, env=checked_env(recipe.env))

    def _check(self) -> None:
        if "loss_type" in self.trl and (self.loss or self.aggregate != "token"):
            raise ConfigError(
                f"loss_type {self.trl['loss_type']} uses TRL's own loss and aggregate. Remove loss and aggregate"
            )
        require_range("max_resample_rounds", self.max_resample_rounds, at_least=0)
        require_range("max_oversampling", self.max_oversampling, at_least=1, at_most=100)
        require_range("max_num_seqs", self.max_num_seqs, at_least=1)
        require_range("deadline_seconds", self.deadline_seconds, above=0, at_most=10**8)
        for key in ("prompts_per_step", "group_size", "micro_batch", "updates_per_batch"):
            require_range(key, getattr(self, key), at_least=1, at_most=LARGEST_BATCH)
        require_range("max_rollbacks", self.max_rollbacks, at_least=0)
        for address in self.servers:
            if not re.fullmatch(r"https?://[^/\s]+(/.*)?", address):
                raise ConfigError(f"servers: got {address!r}; expected an address such as http://host:8000")

    def to_dict(self) -> dict[str, Any]:
        """Copy of the values as written, in order; `Recipe.of` of it is this recipe."""
        return copy.deepcopy(dict(self.written))

    def states(self, key: str) -> bool:
        """True if the recipe sets this key."""
        return key in self.written

    def replaced(self, **changes: Any) -> Recipe:
        """The recipe with new values of these keys, as written in YAML."""
        values = {**self.to_dict(), **changes}
        return Recipe.of(values) if self.stages else Recipe._one(values)


KEYS = tuple(one.name for one in dataclasses.fields(Recipe) if one.name not in ("trl", "written"))
"""Recipe keys that are not TRL's."""


def _stage(found: Any, cls: type[Recipe]) -> Stage:
    try:
        recipe = cls._one(found.values)
        cold_start = ColdStart.of(found.cold_start) if found.kind == "sft" else None
    except ConfigError as error:
        if found.name is None:
            raise
        raise StageError(found.name, str(error)) from error
    return Stage(found.name, found.kind, recipe, cold_start, found.first_step, found.steps, found.folder)


def _nearest_key(key: str, valid: Iterable[str]) -> str:
    """Hint with only the close matches, because GRPOConfig has two hundred fields."""
    valid = list(valid)
    if new := renamed(key, valid):
        return new
    close = difflib.get_close_matches(key, valid, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(map(repr, close))}?" if close else "docs/reference.md lists the keys"


def checked_env(env: Mapping[str, Any]) -> dict[str, str]:
    """Environment variables as text; raises `ConfigError` for an invalid name or value."""
    for name, value in env.items():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise ConfigError(f"env: got the name {name!r}; expected letters, digits and _, not starting with a digit")
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not (number or isinstance(value, str)) or "\0" in str(value):
            raise ConfigError(
                f"env: {name}: got {value!r}; expected text or a number. Quote yes, no, on, off: YAML reads them as booleans"
            )
    return {name: str(value) for name, value in env.items()}
