"""Rules for resuming: which changes of a recipe are free, which are reported, which are rejected.

    free       execution, and settings that are tuned during a run: learning rate, limits, logging, saving
    refused    what makes it a different run: model, data, seed, batch, slots; another number of ranks for a sharded optimizer
    reported   everything else: it changes results, so the run prints it

Free and reported changes are recorded in `metrics.jsonl` with their first step. Two spellings of one value (`1e-4` and
`0.0001`, `alp` and `{name: alp}`, another path of the same folder, a default that is written out) are not a change.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tersely.configs.dataset import SourceSpec
from tersely.configs.evaluation import EvaluationSpec
from tersely.configs.recipe import KEYS, SECTIONS, Recipe
from tersely.core.errors import ConfigError
from tersely.core.findings import Finding
from tersely.core.paths import beside, expanded
from tersely.core.reward_sum import RewardSum

FREE = frozenset(
    """
    learning_rate max_grad_norm max_steps num_train_epochs deadline_seconds ddp_timeout micro_batch
    micro_batching gradient_checkpointing gradient_checkpointing_kwargs activation_checkpointing
    activation_checkpointing_kwargs run_name project report_to
    disable_tqdm log_completions num_completions_to_print push_to_hub eval_steps torch_empty_cache_steps env
    preflight evaluation guards servers max_num_seqs max_rollbacks verifier.timeout verifier.memory_mb
    verifier.workers verifier.cache verifier.recycle skip_memory_metrics ranks
    """.split()  # noqa: SIM905
)
FREE_PREFIXES = ("logging_", "log_", "save_", "hub_", "vllm_", "dataloader_", "trackio_")
REFUSED = frozenset(
    """
    model_name_or_path model_revision dataset seed group_size prompts_per_step updates_per_batch
    num_iterations instruction system_prompt chat_template_kwargs prompting sampling reward advantage loss filter
    aggregate controllers peft stages beta loss_type optim shuffle_dataset
    """.split()  # noqa: SIM905
)
IGNORED = frozenset({"run_dir", "method"})
"""Keys that are not compared: the folder is given, and a method is recorded by its slots."""

Change = tuple[Any, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Start:
    """How a run starts: new, or from its folder."""

    resume: bool
    changes: dict[str, Change] = field(default_factory=dict)
    """key -> (old value, new value): changes of the folder's recipe."""

    def findings(self) -> list[Finding]:
        """A note for each free change, a warning for each of the others."""
        return [
            Finding(
                "note" if is_free(key) else "warn",
                key,
                f"was {old!r} and is {new!r} from now on",
                "" if is_free(key) else "results before and after have different settings",
            )
            for key, (old, new) in self.changes.items()
        ]

    def event(self) -> dict[str, Any]:
        """The line of `metrics.jsonl` that records the changes."""
        changes = {key: {"from": old, "to": new, "free": is_free(key)} for key, (old, new) in self.changes.items()}
        return {"event": "recipe_changed", "changes": changes}


def is_free(key: str) -> bool:
    return key in FREE or key.startswith(FREE_PREFIXES)


def changes_between(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Change]:
    """Keys whose meaning differs in the second recipe, with both values as written.

    If one recipe no longer parses (another version wrote it), the raw values are compared.
    """
    try:
        old, new = canonical(before), canonical(after)
    except (ConfigError, TypeError, ValueError):
        old, new = _plain(_compared(before)), _plain(_compared(after))
    found = {}
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            found[key] = (_written(before, key), _written(after, key))
    return found


def refused(changes: Mapping[str, Change], staged: bool) -> dict[str, Change]:
    """Changes that make a different run. With stages, `max_steps` is one, because it sets the stages' lengths."""
    return {key: value for key, value in changes.items() if key in REFUSED or (staged and key == "max_steps")}


def canonical(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Comparable values by key, without defaults. Raises `ConfigError` for an invalid recipe."""
    import warnings

    from trl import GRPOConfig

    from tersely.algorithms.objective import SLOT_DEFAULTS
    from tersely.rl.config import checked, objective_of

    run = checked(Recipe.of(_compared(recipe)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the run shows them
        objective = objective_of(run)
    defaults = {f.name: f.default for f in (*dataclasses.fields(GRPOConfig), *dataclasses.fields(Recipe))}
    values = (
        {key: getattr(run, key) for key in KEYS if key not in SECTIONS}
        | dict(run.trl)
        | {"stages": run.written.get("stages")}
    )
    values = {
        key: value for key, value in values.items() if value not in (None, {}, [], ()) and value != defaults.get(key)
    }
    found = {key: _plain(value) for key, value in values.items() if key not in IGNORED}
    found |= {f"verifier.{key}": _plain(value) for key, value in dataclasses.asdict(run.verifier).items()}
    found["guards"] = _plain(dataclasses.asdict(run.guards))
    found["peft"] = _plain(dataclasses.asdict(run.peft)) if run.peft else None
    found["evaluation"] = _evaluation(run.evaluation)
    found["dataset"] = _dataset(run.dataset)
    found["model_name_or_path"] = _place(str(run.model_name_or_path))
    return found | {slot: _component(getattr(objective, slot)) for slot in SLOT_DEFAULTS}


def _compared(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in recipe.items() if value is not None and key not in IGNORED}


def _component(part: Any) -> Any:
    """Comparable form of a component: its class and its parameters."""
    if isinstance(part, str):
        return part
    if isinstance(part, list | tuple):
        return [_component(one) for one in part]
    if isinstance(part, RewardSum):
        return [_component(part.terms), list(part.weights)]
    if dataclasses.is_dataclass(part):
        return repr(part)
    return [f"{type(part).__module__}.{type(part).__qualname__}", _plain(vars(part))]


def _evaluation(spec: EvaluationSpec | None) -> Any:
    return None if spec is None else {**_plain(dataclasses.asdict(spec)), "dataset": _dataset(spec.dataset)}


def _dataset(specs: Sequence[SourceSpec]) -> list[Any]:
    sources = [dataclasses.asdict(source) for source in specs]  # a shipped entry is resolved
    unused = dict.fromkeys(("name", "about", "pitfalls"))
    return [_plain({**source, **unused, "path": _place(str(source["path"]))}) for source in sources]


def _place(name: str) -> str:
    path = Path(expanded(name))
    return str(path.resolve()) if path.exists() else name


def _plain(value: Any) -> Any:
    """Numbers in any spelling as numbers."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)


def _written(recipe: Mapping[str, Any], key: str) -> Any:
    head, _, rest = key.partition(".")
    value = recipe.get(head)
    return value.get(rest) if rest and isinstance(value, Mapping) else value


def begun(run_dir: Path) -> bool:
    """True if a run in this folder finished a step, or has a checkpoint or weights."""
    if any(run_dir.glob("**/checkpoint-*/tersely_manifest.json")) or (run_dir / "final").exists():
        return True
    metrics = run_dir / "metrics.jsonl"
    for line in metrics.read_text().splitlines() if metrics.exists() else ():
        try:
            if json.loads(line).get("step", 0) >= 1:
                return True
        except ValueError:
            continue
    return False


def require_folder(run_dir: str | Path) -> None:
    """Raise `ConfigError` if there is no such folder to resume in."""
    path = Path(run_dir)
    if path.is_dir():
        return
    hint = f" {found}." if (found := beside(path)) else ""
    raise ConfigError(f"run_dir: got {str(path)!r}; nothing to resume there.{hint} Remove --resume to start a run")


def require_same_data(state: Mapping[str, Any], fingerprint: str, rows: int) -> None:
    """Raise `ConfigError` if the checkpoint was made with other problems, because its position in them is lost."""
    then = state.get("data")
    if then and then["fingerprint"] != fingerprint:
        raise ConfigError(
            f"dataset: got {rows} problems with fingerprint {fingerprint}; the checkpoint was made on {then['rows']} with "
            f"{then['fingerprint']}, so its place in the data is lost. Restore the data, or start another run_dir from the "
            "checkpoint with --model_name_or_path"
        )


def launch_facts(args: Any) -> dict[str, Any]:
    """Number of ranks of a checkpoint, and what shards the optimizer over them ("" for a full copy per rank)."""
    from accelerate import PartialState

    kinds = {"deepspeed": getattr(args, "deepspeed", None), "fsdp": getattr(args, "fsdp", None)}
    sharded = [k for k, on in kinds.items() if on or os.environ.get(f"ACCELERATE_USE_{k.upper()}") == "true"]
    return {"ranks": PartialState().num_processes, "sharding": sharded[0] if sharded else ""}


def changed_ranks(state: Mapping[str, Any], now: Mapping[str, Any], per_rank: str = "") -> dict[str, Change]:
    """Change of the number of ranks since the checkpoint; rollouts, batches and updates do not depend on it.

    Raises `ConfigError` if that cannot be exact: for a sharded optimizer, and for `per_rank`, a key that counts per rank.
    """
    then = state.get("launch") or now
    change, kind = (then["ranks"], now["ranks"]), then["sharding"]
    again = (
        f"Resume on {change[0]} ranks{f' with {kind}' if kind else ''}, or start another run_dir from its weights with "
    )
    if kind != now["sharding"]:
        raise ConfigError(
            f"launcher: got {now['sharding'] or 'plain data parallelism'}; the checkpoint was saved under "
            f"{kind or 'plain data parallelism'}, and its optimizer state would be lost. {again}--model_name_or_path"
        )
    if change[0] == change[1]:
        return {}
    if kind or per_rank:
        why = f"its optimizer is sharded over them by {kind}" if kind else f"{per_rank} counts for each of them"
        raise ConfigError(
            f"ranks: got {change[1]}; the checkpoint was saved on {change[0]}, and {why}. {again}--model_name_or_path"
        )
    return {"ranks": change}


def from_main(compute: Callable[[], T]) -> T:
    """Compute on the main process and broadcast the result. A `ConfigError` is raised on all ranks."""
    import torch

    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return compute()
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    found: list[Any] = [None, None]
    if PartialState().is_main_process:
        try:
            found = [compute(), None]
        except ConfigError as error:
            found = [None, error]
    value, refusal = broadcast_object_list(found)
    if refusal is not None:
        raise refusal
    return value
