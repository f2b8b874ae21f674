"""The cold start: a stage of supervised training on the model's own right answers, rewritten into a method's form.

    - {name: warm, kind: sft, steps: 60, rewrite: selfbudgeter, prompts: 256, samples: 4, settings: {learning_rate: 1e-3}}

Rollouts by our engines, one seed a sample; verified; kept if right and whole; rewritten (`rewrites.py`); stored in the
stage's folder, so that a restart samples nothing again; then TRL's SFTTrainer. The loss is the mean over tokens of
weight times negative log-prob, or that of an `sft_loss` component.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tersely.checks import SpecError, check_fields, require_range
from tersely.rl.checkpoint import write_json
from tersely.rl.deadlines import now
from tersely.rl.examples import Attempt, Span
from tersely.rl.field_values import field_value
from tersely.rl.grading import verdicts_of
from tersely.rl.prompting import prompt_ids
from tersely.rl.resume import Start, from_main
from tersely.rl.rewrites import build_rewrite
from tersely.rl.seeds import sample_seed
from tersely.rl.trl_fields import LEFT_OUT, NEVER_READ

EXAMPLES, MEMORY = "examples.json", "memory.json"
AT_ONCE = 4096
"""Samples drawn in one go: enough to keep an engine busy, few enough that the watch hears of it in between."""


SET_HERE = {
    "max_steps": "steps",
    "num_train_epochs": "steps",
    "per_device_train_batch_size": "batch_size",
    "output_dir": "run_dir",
    "model_init_kwargs": "model_init_kwargs of the recipe",
    **dict.fromkeys(("max_length", "remove_unused_columns", "dataset_kwargs"), "nothing"),
}
"""Fields of SFTConfig that a stage states under other names."""
UNREAD = (
    *("packing", "packing_strategy", "padding_free", "eval_packing", "dataset_num_proc", "dataset_text_field"),
    *("assistant_only_loss", "completion_only_loss", "chat_template_path", "eos_token", "pad_token", "loss_type"),
    *("shuffle_dataset", "truncation_mode", "pad_to_multiple_of"),
)
"""Fields of SFTConfig that prepare a data set or choose a loss; the examples are prepared here."""


@dataclass(frozen=True)
class ColdStart:
    """What a stage of kind `sft` says beside name and steps."""

    rewrite: Any = "plain"
    prompts: int = 256
    """How many of the dataset's prompts are sampled, from the first."""
    samples: int = 4
    """A prompt."""
    temperature: float = 1.0
    batch_size: int = 16
    """Examples a step on each rank."""
    sft_loss: Any = None
    """A component of `SFT_LOSSES`; null for the weighted mean over tokens."""
    settings: dict = field(default_factory=dict)
    """Fields of TRL's SFTConfig by their names."""

    def __post_init__(self):
        for name in ("prompts", "samples", "batch_size"):
            require_range(f"cold start {name}", getattr(self, name), at_least=1, at_most=2**30)
        require_range("cold start temperature", self.temperature, above=0, at_most=100)

    @classmethod
    def of(cls, stage: Any) -> ColdStart:
        """The checked keys of a stage."""
        from trl import SFTConfig

        from tersely.components import build

        where = f"stage {stage.name}"
        spec = cls(**check_fields(cls, stage.recipe["cold_start"], where=where))
        build_rewrite(spec.rewrite, where)
        if spec.sft_loss is not None:
            build("sft_loss", spec.sft_loss)
        hints = typing.get_type_hints(SFTConfig)
        known = sorted({f.name for f in dataclasses.fields(SFTConfig) if f.init} - SET_HERE.keys() - {*UNREAD})
        values = {}
        for key, value in spec.settings.items():
            if key in SET_HERE:
                raise SpecError(f"{where}: settings: {key} is set here; state {SET_HERE[key]} instead")
            if key in UNREAD or key in LEFT_OUT or key in NEVER_READ:
                raise SpecError(f"{where}: settings: {key} is TRL's, and nothing here reads it; leave it out")
            if key not in known:
                close = difflib.get_close_matches(str(key), known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else "the keys are TRL's, of SFTConfig"
                raise SpecError(f"{where}: settings has no key {key!r}; {hint}")
            try:
                values[key] = field_value(key, value, hints[key])
            except SpecError as error:
                raise SpecError(f"{where}: settings: {error}") from error
        return dataclasses.replace(spec, settings=values)

    def table(self) -> str:
        return "\n".join(f"{name:>18} {value!s:>8}" for name, value in vars(self).items() if name != "settings")


def train_cold_start(stage: Any, previous: Any, run_dir: Path, start: Start) -> Any:
    """Collect once, then train to `stage.final`. Returns the trainer.

    Raises `SavedAndStopped` where it was asked to save and stop.
    """
    from accelerate import PartialState

    from tersely.rl.coldstart_trainer import sft_trainer
    from tersely.rl.save_on_signal import SaveOnSignal
    from tersely.rl.stages import carried_state

    spec = ColdStart.of(stage)
    collected = stage.folder / EXAMPLES
    if not from_main(lambda: start.resume and collected.is_file()):
        _collect(stage, spec, previous)
    PartialState().wait_for_everyone()
    examples = json.loads(collected.read_text())
    state = {"memory": json.loads((stage.folder / MEMORY).read_text())}
    state["objective"] = carried_state(previous).get("objective") or {}
    trainer, last = sft_trainer(stage, spec, examples, run_dir, start)
    saver = SaveOnSignal()
    trainer.add_callback(saver)
    trainer.train(resume_from_checkpoint=last)
    saver.raise_if_stopped(stage.folder)
    trainer.save_final(stage.final, state)
    return trainer


def _collect(stage: Any, spec: ColdStart, previous: Any) -> None:
    """Sample, verify, rewrite, store. Every rank takes its share of the prompts."""
    from accelerate import PartialState
    from accelerate.utils import gather_object

    from tersely.launch.train import make_engine
    from tersely.rewards.verify.build import make_verifier
    from tersely.rl.config import grpo_config, split_recipe, world_size
    from tersely.rl.data import load_problems
    from tersely.rl.models import load_tokenizer, load_whole_model, own_engine
    from tersely.rl.redaction import export_hub_token
    from tersely.rl.stages import carried_state

    run, trl_values = split_recipe({key: value for key, value in stage.recipe.items() if key != "cold_start"})
    args = grpo_config(run, trl_values, run.objective(trl_values), world_size())
    export_hub_token(args)
    tokenizer = load_tokenizer(run.model_name_or_path, args.trust_remote_code)
    rows = load_problems(run.dataset, seed=args.seed, instruction=run.instruction, system_prompt=run.system_prompt)
    engine = make_engine(run, args, tokenizer)
    if run.engine != "vllm":  # which has loaded the weights itself
        model, _ = load_whole_model(run.model_name_or_path, args)
        if engine is None:
            engine = own_engine(model, tokenizer, args, rows_at_once=256)
        else:
            engine.sync_weights(model, 0)  # servers may hold those of another stage, or of another run
    verifier = make_verifier(run.verifier)
    ranks = PartialState()
    mine = [row for i, row in enumerate(rows) if i % ranks.num_processes == ranks.process_index]
    template = args.chat_template_kwargs or {}
    sampler = Sampler(engine, tokenizer, verifier, args.seed, args.max_completion_length, template)
    rewrite = build_rewrite(spec.rewrite, f"stage {stage.name}")
    try:
        share = [row for i, row in enumerate(mine) if i * ranks.num_processes + ranks.process_index < spec.prompts]
        found = sampler.attempts(share, spec.samples, spec.temperature)
        memory_field = getattr(rewrite, "memory_field", None)
        greedy = sampler.attempts(mine, 1, 0.0) if memory_field else []
    finally:
        engine.close()
        verifier.close()
    count = lambda text: len(tokenizer.encode(text, add_special_tokens=False))
    written = [
        {"prompt_id": row["prompt_id"], "prompt": row["prompt"], "kind": example.kind, "spans": example.spans}
        for row, attempts in zip(share, found, strict=True)
        if attempts
        for example in rewrite(attempts, count)
    ]
    lengths = [(r["prompt_id"], a[0].length) for r, a in zip(mine, greedy, strict=bool(greedy)) if a]
    written, lengths = gather_object(written), gather_object(lengths)
    _store(stage, spec, written, lengths, memory_field, carried_state(previous).get("memory") or {})


def _store(stage: Any, spec: ColdStart, written: list, lengths: list, memory_field: str | None, memory: dict) -> None:
    from accelerate import PartialState

    ranks = PartialState()
    if len(written) < spec.batch_size * ranks.num_processes:
        raise SpecError(
            f"stage {stage.name}: {len(written)} examples came of {spec.prompts} prompts, fewer than one batch of "
            f"{spec.batch_size * ranks.num_processes}; raise prompts or samples, or lower batch_size"
        )
    if not ranks.is_main_process:
        return
    for prompt_id, length in lengths:
        memory.setdefault(prompt_id, {})[memory_field] = float(length)
    stage.folder.mkdir(parents=True, exist_ok=True)
    write_json(stage.folder / MEMORY, memory)
    write_json(stage.folder / EXAMPLES, sorted(written, key=lambda e: (e["prompt_id"], e["kind"], e["spans"])))
    print(f"{len(written)} examples of {len({e['prompt_id'] for e in written})} prompts", flush=True)


@dataclass
class Sampler:
    """Right and whole attempts of a list of prompts."""

    engine: Any
    tokenizer: Any
    verifier: Any
    seed: int
    cap: int
    template: dict[str, Any] = field(default_factory=dict)
    """chat_template_kwargs."""

    def attempts(self, rows: list[dict[str, Any]], samples: int, temperature: float) -> list[list[Attempt]]:
        """One list a row, in order; empty where no sample was right."""
        found: list[list[Attempt]] = []
        step = max(1, AT_ONCE // samples)
        for first in range(0, len(rows), step):
            now(f"cold start: sampling prompt {first + 1} of {len(rows)}")
            found += self._attempts(rows[first : first + step], samples, temperature)
        return found

    def _attempts(self, rows: list[dict[str, Any]], samples: int, temperature: float) -> list[list[Attempt]]:
        from tersely.rl.engine import GenerationRequest
        from tersely.rl.rollout import Template

        tail = Template.of(self.tokenizer, self.template).tail
        requests, owners = [], []
        for place, row in enumerate(rows):
            ids = turn_ids(self.tokenizer, row["prompt"], self.template)
            for j in range(samples):
                seed = sample_seed(self.seed, 0, row["prompt_id"], j, salt="cold start")
                requests.append(GenerationRequest(tuple(ids), seed, self.cap))
                owners.append(place)
        drawn = self.engine.generate(requests, temperature=temperature)
        texts = self.tokenizer.batch_decode([g.token_ids for g in drawn], skip_special_tokens=True)
        verdicts = verdicts_of(self.verifier, [rows[place] for place in owners], texts)
        found: list[list[Attempt]] = [[] for _ in rows]
        for place, generation, text, verdict in zip(owners, drawn, texts, verdicts, strict=True):
            if verdict.correct == 1 and generation.finish == "eos":
                found[place].append(Attempt(tail + text, text, len(generation.token_ids)))
        return found


def turn_ids(tokenizer: Any, prompt: list[dict[str, str]], template: dict[str, Any]) -> list[int]:
    """The chat up to the opened assistant's turn; `template` holds chat_template_kwargs."""
    return prompt_ids(tokenizer, prompt, template)


def tokens_and_weights(
    tokenizer: Any, prompt: list[dict[str, str]], spans: list, template: dict[str, Any] | None = None
) -> tuple[list[int], list[float], list[bool]]:
    """Ids of prompt, spans and end, each tokenised alone so that they concatenate; one weight an id, 0 on the prompt; and
    which of them are exempt."""
    ids = turn_ids(tokenizer, prompt, template or {})
    weights, exempt = [0.0] * len(ids), [False] * len(ids)
    for span in (*(Span(*span) for span in spans), None):
        part = [tokenizer.eos_token_id] if span is None else tokenizer.encode(span.text, add_special_tokens=False)
        ids += part
        weights += [1.0 if span is None else float(span.weight)] * len(part)
        exempt += [span is not None and bool(span.exempt)] * len(part)
    return ids, weights, exempt
