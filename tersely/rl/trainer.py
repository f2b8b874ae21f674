"""The training step: TRL's GRPOTrainer, with the six slots in the methods that it overrides.

A step in call order; files are below `rl/`. TRL does the rest: model, fused head, reference pass, accumulation, logging.

    get_train_dataloader               one stream of prompts, exact under resume (`rollouts/prompt_rows.py`)
    training_step                      one micro-batch; the first one makes the generation batch (`update/micro_batches.py`)
      _generate_and_score_completions  the prompting of this rank's rows (`rollouts/rollout.py`)
        _tokenize_prompts              chat template and prefills
        _generate_single_turn          weight sync, the engine, resampling (`rollouts/resample.py`)
        _calculate_rewards             on whole groups: verify, gather, filter, reward, advantage
        _scored                        our advantages, masks and counts in place of TRL's
      _compute_loss                    the loss, then aggregation; the log-prob mismatch (`update/old_logprobs.py`)
      _skip_update                     instead of TRL's step, where no row trains (`update/empty_update.py`)
    _maybe_log_save_evaluate           guards and roll-back (`guards/callback.py`, `checkpoints/rollback.py`)
      _save_checkpoint                 prompt memory, component state, manifest (`checkpoints/save.py`)

`rl/run.py` builds the trainer; the slots are called by `algorithms/objective.py`.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor
from trl.models.utils import unwrap_model_for_generation

from tersely.algorithms.objective import Objective, Scores
from tersely.core.aggregate import aggregate
from tersely.core.heartbeat import beat, beat_at_each_pass
from tersely.core.memory import PromptMemory
from tersely.core.types import TokenBatch
from tersely.engines import activation_checkpointing
from tersely.engines.base import Engine, EngineSettings, Generation, GenerationRequest
from tersely.engines.chat import all_prompt_ids
from tersely.engines.factory import create_engine
from tersely.rl.checkpoints.rollback import RollBack, RollsBack
from tersely.rl.checkpoints.save import Saving
from tersely.rl.config import TRL_LOSS_TYPES, RunConfig
from tersely.rl.controllers import ControllerFeed
from tersely.rl.guards.callback import Guarded, GuardFeed
from tersely.rl.recording.metrics import OF_TRAINED, StepMetrics, reward_columns
from tersely.rl.rollouts.grading import Grader
from tersely.rl.rollouts.prompt_rows import PromptRows
from tersely.rl.rollouts.record import completion_rows, group_metrics, rollouts_from_records
from tersely.rl.rollouts.reference_score import ReferenceScorer
from tersely.rl.rollouts.resample import draw_round, gathered_records
from tersely.rl.rollouts.rollout import RolloutRound, Template
from tersely.rl.rollouts.sampling_state import SamplingState
from tersely.rl.trained_prompting import trained_prompting
from tersely.rl.trl.grpo import GRPOTrainer
from tersely.rl.trl.window import check_window
from tersely.rl.update.empty_update import EmptyUpdate
from tersely.rl.update.micro_batches import MicroBatches
from tersely.rl.update.old_logprobs import OldPolicyPass
from tersely.rl.update.padding import fit_columns, trimmed

check_window()


class TerselyTrainer(OldPolicyPass, EmptyUpdate, PromptRows, Saving, Guarded, RollsBack, GRPOTrainer):
    """Train `objective` on `train_dataset` (columns prompt, problem, answer, prompt_id, level).

    `first_step` is the number of steps that stages before this one took. `engine` None generates with the trained model
    itself; `verifier` has `verify(golds, texts) -> list[Verdict]`.
    """

    _round: RolloutRound
    _scores: Scores

    def __init__(
        self,
        *,
        run: RunConfig,
        objective: Objective,
        verifier: Any,
        engine: Engine | None = None,
        first_step: int = 0,
        **trl_arguments: Any,
    ):
        self.run_config, self.objective, self.first_step = run, objective, first_step
        self.memory = PromptMemory()
        self.grader = Grader(verifier)
        self.references = ReferenceScorer(self)
        self.controls, self.rollback = ControllerFeed(self), RollBack(self, run.max_rollbacks)
        self.planned, self.step_metrics = MicroBatches(self), StepMetrics()
        self.guards = GuardFeed(self, run.guards)
        self.logged_rows: list[dict[str, Any]] = []
        self._synced_step = -1
        self._last_step_at: float | None = None
        trl_arguments["args"].reward_weights = list(objective.reward.weights)
        super().__init__(reward_funcs=reward_columns(objective.reward.names), **trl_arguments)
        for model in filter(None, (self.model, self.ref_model)):
            beat_at_each_pass(model)
        self.add_callback(self.controls)
        self.add_callback(self.guards)
        self.engine = engine if engine is not None else self._own_engine()
        self._template = Template.of(self._tokenizer, self.chat_template_kwargs)
        self.prompting = trained_prompting(run, self.args, objective.prompting)

    def _own_engine(self) -> Engine:
        @contextmanager
        def unwrapped():
            plain = unwrap_model_for_generation(
                self.model_wrapped,
                self.accelerator,
                gather_deepspeed3_params=self.args.ds3_gather_for_generation,
                gradient_checkpointing_kwargs=activation_checkpointing.setting(
                    self.args, "gradient_checkpointing_kwargs"
                ),
            )
            # around all positions, so that float32 weights are cast once and not at each of them
            with plain as model, self.accelerator.autocast():
                yield model

        settings = EngineSettings(self._tokenizer, self.model, unwrapped=unwrapped)
        return create_engine(self.run_config.engine, settings)

    # ---- prompting and generation ----

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        with self._timed("time/rollout"):
            self._old_pass, self._collecting = None, True
            self._round = RolloutRound(inputs, self._plans_of(inputs), self._tokenizer, self._template)
            prompts = self._round.messages()
            try:
                output = super()._generate_and_score_completions(
                    [{**row, "prompt": prompt} for row, prompt in zip(inputs, prompts, strict=True)]
                )
                return self._scored(output)
            finally:
                self._collecting = False

    def _plans_of(self, inputs: list[dict[str, Any]]) -> list[Any]:
        """The plans of this rank's rows, cut from those of the whole batch: prompting sees whole groups."""
        group, rows, rank = self.num_generations, len(inputs), self.accelerator.process_index
        ids = gather_object([row["prompt_id"] for row in inputs])
        plans = self.objective.prompting(ids[::group], group, self.memory, self.args.seed)
        return plans[rank * rows : (rank + 1) * rows]

    def _tokenize_prompts(self, prompts: list):
        ids = all_prompt_ids(self._tokenizer, prompts, self.chat_template_kwargs)
        return self._round.with_prefills(ids), None, {}

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False):
        step = self.state.global_step
        if self.engine.capabilities.weight_sync and self._synced_step != step:
            with self._timed("time/sync_weights"):
                self.engine.sync_weights(self.model_wrapped, step)
            self._synced_step = step
        requests = self._round.requests(
            prompt_ids,
            seed=self.args.seed,
            step=self.first_step + step,
            first_row=self.accelerator.process_index * len(prompt_ids),
            group_size=num_generations,
            cap=self.max_completion_length,
        )
        self._resampling = draw_round(self, prompt_ids, requests)
        logprobs = self._round.sampler_logprobs() if self.engine.capabilities.sampler_logprobs else None
        return self._round.trained_completions(), logprobs

    def draw(self, requests: list[GenerationRequest]) -> list[Generation]:
        """The engine, at this run's sampling."""
        self.sampling_state = draw = SamplingState(self.objective.sampling)
        return self.engine.generate(requests, temperature=draw.temperature, top_p=self.top_p, top_k=self.top_k or 0)

    def _generate(self, prompts: list):
        result = super()._generate(prompts)
        self._round.prompt_ids, self._round.completion_ids = result[0], result[1]
        return result

    def _prepare_inputs(self, generation_batch):
        """TRL's, cut into micro-batches by `tersely.rl.update.micro_batches`."""
        if not self.model.training:
            return super()._prepare_inputs(generation_batch)
        self.planned.prepare(generation_batch)
        return self.planned.inputs()

    # ---- verify, gather, score ----

    @property
    def progress(self) -> float:
        return self.state.global_step / max(self.state.max_steps, 1)

    def parse_turn(self, turn: str) -> Any:
        """What a whole assistant's turn says of itself, by the prompting's own contract where it has one."""
        return self.objective.prompting.parse(turn)

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        token_ids, entropy = self._gathered_tokens()
        reference = self.references.fields()
        verdicts, seconds, waited = self.grader.result()
        facts = gathered_records(self, verdicts)
        shape = (self.num_generations, self.max_completion_length, self.progress, self.memory)
        rollouts = dataclasses.replace(rollouts_from_records(facts, *shape, token_ids, entropy), **reference)
        refused = self._resampling.refused
        everything = rollouts_from_records(facts + refused, *shape) if refused else rollouts
        self._correct = rollouts.correct
        for name, value in {**self.sampling_state.metrics(rollouts), **self.engine.metrics()}.items():
            self._record(name, value)
        with self._timed("time/score"):
            self._scores = self.objective.score(rollouts)
            self.objective.update(rollouts, everything)
        keep = torch.cat([self._scores.keep, torch.zeros(len(refused) // self.num_generations, dtype=torch.bool)])
        metrics = {
            **group_metrics(everything, facts + refused, keep),
            **self._resampling.metrics(),
            **self.grader.metrics(),
        }
        for name, value in {**metrics, "time/verify": seconds, "time/verify_wait": waited}.items():
            self._record(name, value)
        if self.accelerator.is_main_process:
            self.logged_rows = completion_rows(facts, self._scores, self.objective.reward.names, self.num_generations)
        self.guards.scored(self._scores)
        return self._scores.columns.to(self.accelerator.device)

    def _scored(self, output: dict[str, Any]) -> dict[str, Any]:
        """TRL's batch with our advantages, masks and counts in place of its own."""
        rank, rows = self.accelerator.process_index, output["completion_ids"].shape[0]
        local = slice(rank * rows, (rank + 1) * rows)
        device, mask = output["completion_ids"].device, output["completion_mask"]
        kept = self._scores.keep.repeat_interleave(self.num_generations)
        advantage = self._scores.advantage[local].to(device)
        if advantage.dim() == 2:
            advantage = fit_columns(advantage, mask.shape[1])
        output["advantages"] = advantage
        output["train_mask"] = mask * kept[local].to(device).unsqueeze(1).to(mask.dtype)
        output["num_items_in_batch"] = self.accelerator.gather(output["train_mask"].sum()).sum()
        output["rows_in_batch"] = kept.sum().to(device)
        output["correct"] = self._correct[local].to(device)
        output["row"] = torch.arange(rank * rows, (rank + 1) * rows, device=device)
        self._begin_observing(output)
        return output

    # ---- loss ----

    def _compute_loss(self, model, inputs):
        inputs = trimmed(inputs)
        if self.loss_type in TRL_LOSS_TYPES:
            loss = super()._compute_loss(model, {**inputs, "tool_mask": inputs["train_mask"]})
            recorded = self._metrics["train" if self.model.training else "eval"]
            recorded[OF_TRAINED].append(recorded["entropy"].pop())
        else:
            loss = self._objective_loss(model, inputs)
        self._observe_update(inputs)
        return loss

    def _objective_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """The loss of a micro-batch."""
        mask = inputs["train_mask"]
        input_ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        attention = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
        logps, entropies, aux_loss = self._get_per_token_logps_and_entropies(
            model,
            input_ids,
            attention,
            mask.shape[1],
            compute_entropy=True,
            compute_aux_loss=self.aux_loss_enabled,
        )
        advantage = inputs["advantages"]
        loss_fn = self.objective.loss_in_force()
        batch = TokenBatch(
            logp=logps,
            old_logp=inputs.get("old_per_token_logps", logps.detach()),  # TRL gives none with one step a batch
            entropy=entropies.detach(),
            mask=mask,
            advantage=(advantage.unsqueeze(1) if advantage.dim() == 1 else advantage).expand_as(logps),
            ref_logp=inputs.get("ref_per_token_logps"),
            sampler_logp=inputs.get("sampling_per_token_logps"),
            live_entropy=entropies if loss_fn.needs_live_entropy else None,
            progress=self.progress,
        )
        per_token, metrics = loss_fn(batch)
        loss = self._aggregate(per_token, mask, inputs)
        if inputs.get("spare"):
            loss = loss + 0.0 * logps.sum()  # a broken model shows even where nothing is trained
        if self.aux_loss_enabled:
            loss = loss + self.router_aux_loss_coef * aux_loss / self.current_gradient_accumulation_steps
        self.step_metrics.add(metrics, batch)
        return loss

    def _aggregate(self, per_token: Tensor, mask: Tensor, inputs: dict[str, Any]) -> Tensor:
        """Divide by the counts of the whole accumulation window, so that no cut of the batch changes the loss."""
        how, ranks = self.objective.aggregate, self.accelerator.num_processes
        window = self.current_gradient_accumulation_steps / self.args.steps_per_generation
        if how == "sequence_sum":
            return aggregate(per_token, mask, how) * ranks
        count = inputs["num_items_in_batch"] if how == "token" else inputs["rows_in_batch"]
        denominator = count.clamp(min=1) * window / ranks
        return aggregate(per_token, mask, how, denominator=denominator, max_length=self.max_completion_length)

    def training_step(self, model, inputs, num_items_in_batch):
        began = time.perf_counter()
        model.train()
        self._end_skip()
        self.planned.prepare(inputs)
        self._current_train_step_time += time.perf_counter() - began
        if self.planned.idle:
            self._step += 1
            return torch.zeros((), device=self.args.device)
        trained, last = self.planned.trained, self.accelerator.sync_gradients
        step = super().training_step if trained else self._skip_update
        loss = step(model, inputs, num_items_in_batch)
        beat()
        self.guards.check_loss(loss)
        if last:
            means = self.step_metrics.flush(self.accelerator, self.controls.known)
            update = {"update/rows_trained": float(trained), "update/skipped": float(not trained)}
            for name, value in {**means, **update}.items():
                self._record(name, value)
            self._time_whole_step()
        return loss

    def _time_whole_step(self) -> None:
        """Wall clock from one optimizer step to the next: TRL's `step_time` leaves out what happens between them."""
        now = time.perf_counter()
        if self._last_step_at is not None:
            self._record("time/whole_step", now - self._last_step_at)
        self._last_step_at = now

    # ---- metrics ----

    def _record(self, name: str, value: float) -> None:
        self.controls.observe(name, value)
        self.guards.observe(name, value)
        self._metrics["train" if self.model.training else "eval"][name].append(value)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        beat()
        self._record(name, time.perf_counter() - began)
