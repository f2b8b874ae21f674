"""Cold start: supervised training on correct answers, the model's or those of a file, in a method's form.

    - {name: warm, kind: sft, steps: 60, rewrite: selfbudgeter, prompts: 256, samples: 4, settings: {learning_rate: 1e-3}}

Samples rollouts with our engines, one seed per sample, or reads traces (`traces.py`); verifies them; keeps correct and
complete ones; rewrites them (`rewrites.py`); stores them in the stage's folder, so that a restart does not sample again;
then trains with TRL's SFTTrainer. The loss is the mean over tokens of weight times negative log-prob, or that of an
`sft_loss` component.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tersely.configs.cold_start import ColdStart
from tersely.configs.recipe import Recipe, Stage
from tersely.core.errors import ConfigError
from tersely.core.files import write_json
from tersely.core.heartbeat import now
from tersely.core.logging import get_logger
from tersely.core.seeds import sample_seed
from tersely.core.verifier import AnswerVerifier
from tersely.data import load_problems
from tersely.engines.base import Engine, GenerationRequest
from tersely.rl.check import SFTStage
from tersely.rl.checkpoints.resume import Start, from_main
from tersely.rl.sft.examples import Attempt, turn_ids
from tersely.rl.sft.rewrites import build_rewrite
from tersely.rl.sft.traces import attempts_of, read_traces

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from trl import GRPOConfig

    from tersely.rl.sft.trainer import ColdStartTrainer

logger = get_logger(__name__)

EXAMPLES, MEMORY = "examples.json", "memory.json"
AT_ONCE = 4096
"""Samples per call: enough to keep an engine busy, few enough for regular heartbeats."""


def train_cold_start(check: SFTStage, previous: Stage | None, run_dir: Path, start: Start) -> ColdStartTrainer:
    """Collect examples once, then train and save `stage.final`. Returns the trainer.

    Raises `SavedAndStopped` after a request to save and stop.
    """
    from accelerate import PartialState

    from tersely.algorithms.sft_losses.shad import SHAD
    from tersely.core.build import build
    from tersely.rl.checkpoints.save_on_signal import SaveOnSignal
    from tersely.rl.sft.discriminator import reasoning_of
    from tersely.rl.sft.trainer import sft_trainer
    from tersely.rl.stages import carried_state

    stage, spec = check.stage, check.cold_start
    collected = stage.folder / EXAMPLES
    if not from_main(lambda: start.resume and collected.is_file()):
        _collect(stage, spec, previous)
    PartialState().wait_for_everyone()
    examples = json.loads(collected.read_text())
    state = {"memory": json.loads((stage.folder / MEMORY).read_text())}
    state["objective"] = carried_state(previous).get("objective") or {}
    sft_loss = None if spec.sft_loss is None else build("sft_loss", spec.sft_loss)
    reasoning = reasoning_of(stage, spec, examples, sft_loss) if isinstance(sft_loss, SHAD) else None
    trainer, last = sft_trainer(stage, spec, examples, run_dir, start, reasoning)
    saver = SaveOnSignal()
    trainer.add_callback(saver)
    trainer.train(resume_from_checkpoint=last)
    saver.raise_if_stopped(stage.folder)
    trainer.save_final(stage.final, state)
    return trainer


def _collect(stage: Stage, spec: ColdStart, previous: Stage | None) -> None:
    """Sample or read, verify, rewrite, store. Every rank processes its share of the problems."""
    from accelerate import PartialState
    from accelerate.utils import gather_object

    from tersely.core.redact import export_hub_token
    from tersely.engines.models import load_tokenizer
    from tersely.rewards.verify.build import make_verifier
    from tersely.rl.config import grpo_config, objective_of, world_size
    from tersely.rl.stages import carried_state

    run = stage.recipe
    args = grpo_config(run, objective_of(run), world_size())
    export_hub_token(args)
    tokenizer = load_tokenizer(run.model_name_or_path, args.trust_remote_code)
    ranks = PartialState()
    rank, count = ranks.process_index, ranks.num_processes
    template = args.chat_template_kwargs or {}
    rewrite = build_rewrite(spec.rewrite, f"stage {stage.name}")
    memory_field = rewrite.memory_field
    verifier = make_verifier(run.verifier)
    found: list[tuple[dict[str, Any], list[Attempt]]] = []
    lengths: list[tuple[str, int]] = []
    try:
        if spec.traces is not None:
            traces = read_traces(spec.traces, args.seed, run.instruction, run.system_prompt)
            found = attempts_of(traces.of_rank(rank, count), tokenizer, verifier, template)
        if spec.traces is None or memory_field:
            rows = load_problems(
                run.dataset, seed=args.seed, instruction=run.instruction, system_prompt=run.system_prompt
            )
            engine = _engine(run, args, tokenizer)
            sampler = Sampler(engine, tokenizer, verifier, args.seed, args.max_completion_length, template)
            mine = [row for i, row in enumerate(rows) if i % count == rank]
            try:
                if spec.traces is None:
                    share = [row for i, row in enumerate(mine) if i * count + rank < spec.prompts]
                    found = list(zip(share, sampler.attempts(share, spec.samples, spec.temperature), strict=True))
                greedy = sampler.attempts(mine, 1, 0.0) if memory_field else []
                lengths = [(row["prompt_id"], a[0].length) for row, a in zip(mine, greedy, strict=bool(greedy)) if a]
            finally:
                engine.close()
    finally:
        verifier.close()
    tokens = lambda text: len(tokenizer.encode(text, add_special_tokens=False))
    written = [
        {"prompt_id": row["prompt_id"], "prompt": row["prompt"], "kind": example.kind, "spans": example.spans}
        for row, attempts in found
        if attempts
        for example in rewrite(attempts, tokens)
    ]
    written, lengths = gather_object(written), gather_object(lengths)
    _store(stage, spec, written, lengths, memory_field, carried_state(previous).get("memory") or {})


def _engine(run: Recipe, args: GRPOConfig, tokenizer: PreTrainedTokenizerBase) -> Engine:
    """The recipe's engine with the weights of this stage."""
    from tersely.engines.factory import make_engine, own_engine
    from tersely.engines.models import load_whole_model

    engine = make_engine(run, args, tokenizer)
    if engine is None:
        model, _ = load_whole_model(run.model_name_or_path, args)
        return own_engine(run, args, tokenizer, model, rows_at_once=256)
    if engine.capabilities.servers:  # servers may have the weights of another stage or run
        model, _ = load_whole_model(run.model_name_or_path, args)
        engine.sync_weights(model, 0)
    return engine


def _store(stage: Stage, spec: ColdStart, written: list, lengths: list, memory_field: str | None, memory: dict) -> None:
    from accelerate import PartialState

    ranks = PartialState()
    if len(written) < spec.batch_size * ranks.num_processes:
        origin = f"{spec.prompts} prompts" if spec.traces is None else f"the traces of {spec.traces.source.label}"
        more = "Raise prompts or samples" if spec.traces is None else "Add correct traces"
        raise ConfigError(
            f"stage {stage.name}: got {len(written)} examples from {origin}; expected at least one batch of "
            f"{spec.batch_size * ranks.num_processes}. {more}, or lower batch_size"
        )
    if not ranks.is_main_process:
        return
    for prompt_id, length in lengths:
        memory.setdefault(prompt_id, {})[memory_field] = float(length)
    stage.folder.mkdir(parents=True, exist_ok=True)
    write_json(stage.folder / MEMORY, memory)
    write_json(stage.folder / EXAMPLES, sorted(written, key=lambda e: (e["prompt_id"], e["kind"], e["spans"])))
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(Counter(e["kind"] for e in written).items()))
    logger.info(f"{len(written)} examples of {len({e['prompt_id'] for e in written})} prompts ({kinds})")


@dataclass
class Sampler:
    """Collects correct and complete attempts for a list of prompts."""

    engine: Engine
    tokenizer: PreTrainedTokenizerBase
    verifier: AnswerVerifier
    seed: int
    cap: int
    template: dict[str, Any] = field(default_factory=dict)
    """chat_template_kwargs."""

    def attempts(self, rows: list[dict[str, Any]], samples: int, temperature: float) -> list[list[Attempt]]:
        """One list per row, in order; empty if no sample was correct."""
        found: list[list[Attempt]] = []
        step = max(1, AT_ONCE // samples)
        for first in range(0, len(rows), step):
            now(f"cold start: sampling prompt {first + 1} of {len(rows)}")
            found += self._attempts(rows[first : first + step], samples, temperature)
        return found

    def _attempts(self, rows: list[dict[str, Any]], samples: int, temperature: float) -> list[list[Attempt]]:
        from tersely.rl.rollouts.rollout import Template

        tail = Template.of(self.tokenizer, self.template).tail
        requests, owners = [], []
        for place, row in enumerate(rows):
            ids = turn_ids(self.tokenizer, row["prompt"], self.template)
            for j in range(samples):
                seed = sample_seed(self.seed, 0, row["prompt_id"], j, salt="cold start")
                requests.append(GenerationRequest(tuple(ids), seed, self.cap))
                owners.append(place)
        generations = self.engine.generate(requests, temperature=temperature)
        texts = self.tokenizer.batch_decode([g.token_ids for g in generations], skip_special_tokens=True)
        verdicts = self.verifier.verify_rows([rows[place] for place in owners], texts)
        found: list[list[Attempt]] = [[] for _ in rows]
        for place, generation, text, verdict in zip(owners, generations, texts, verdicts, strict=True):
            if verdict.correct == 1 and generation.finish == "eos":
                found[place].append(Attempt(tail + text, text, len(generation.token_ids)))
        return found
