"""A training step, from top to bottom.

transformers' loop calls `training_step` for each micro-batch, and steps the optimizer after the last one of a step. The first
micro-batch of a generation batch makes the batch, in `make_batch`:

    sample         plan the prompts, generate, start to verify; replace filtered groups (`rollouts/maker.py`, `sample.py`)
    tensors        token ids and masks
    policy_pass    log-probs of the sampling policy and of the reference, if needed (`update/old_logprobs.py`)
    verify         wait for the verdicts; gather the records of all ranks (`rollouts/record.py`); cut rows (`rollouts/trim.py`)
    score          filter, reward and advantage of whole groups (`algorithms/objective.py`)
    record_batch   reward metrics and the completions table

`cut` then makes the micro-batches (`update/micro_batches.py`), and `loss` computes the loss of one. After the optimizer step
`before_logging` runs guards and roll-back; logging and saving follow. `rl/trl/overrides.py` connects these methods to TRL, and
`rl/run.py` builds the trainer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor

from tersely.algorithms.objective import Objective, Scores, reads_reference
from tersely.configs.recipe import TRL_LOSS_TYPES, Recipe
from tersely.core.heartbeat import beat, beat_at_each_pass
from tersely.core.memory import PromptMemory
from tersely.engines.base import Engine, EngineSettings
from tersely.engines.chat import Prompting
from tersely.engines.factory import create_engine
from tersely.rl.checkpoints.rollback import RollBack, RollBackListener
from tersely.rl.checkpoints.run_state import RunState
from tersely.rl.controllers import ControllerFeed
from tersely.rl.errors import StoppedByGuard
from tersely.rl.guards.callback import GuardFeed
from tersely.rl.guards.mismatch import check_mismatch
from tersely.rl.held_out_evaluation import TrainedModel
from tersely.rl.recording.metrics import StepMetrics, length_metrics, reward_columns, reward_metrics
from tersely.rl.recording.recorder import Recorder
from tersely.rl.recording.run_files import MetricsFile
from tersely.rl.rollouts.engine_weights import EngineWeights
from tersely.rl.rollouts.grading import Grader
from tersely.rl.rollouts.maker import BatchShape, Moment, RolloutMaker, Sampled
from tersely.rl.rollouts.oversample import Oversampling
from tersely.rl.rollouts.prompt_rows import PromptRows
from tersely.rl.rollouts.record import completion_rows, group_metrics, row_advantages
from tersely.rl.rollouts.reference_score import ReferenceScorer
from tersely.rl.rollouts.rollout import SAMPLED, RolloutRound, Template
from tersely.rl.rollouts.sample import sample
from tersely.rl.rollouts.sampling_state import SamplingState
from tersely.rl.rollouts.token_fields import FILL, OF_POLICY_PASS, TokenFields
from tersely.rl.rollouts.trim import Trimmed, step_measurements, trimmed
from tersely.rl.trained_prompting import trained_prompting
from tersely.rl.trl.teacher_models import DistillingTrainer
from tersely.rl.trl.window import check_window
from tersely.rl.update.batch_size import updates_of_a_batch
from tersely.rl.update.loss import ObjectiveLoss
from tersely.rl.update.micro_batches import MicroBatches, Update, take
from tersely.rl.update.old_logprobs import Observation, PassByLength, entropy_is_read
from tersely.rl.update.padding import without_padding
from tersely.rl.update.reference_update import fill_reference_adapter
from tersely.rl.update.train_batch import with_scores

check_window()


class TerselyTrainer(DistillingTrainer):
    """Trains `objective` on `train_dataset` (columns prompt, problem, answer, prompt_id, level).

    `first_step`: number of steps of earlier stages. `engine` None generates with the trained model. `verifier` has
    `verify(golds, texts) -> list[Verdict]`. Guards and rollbacks write their events to `metrics`, the main process's file.
    """

    observation: Observation

    def __init__(
        self,
        *,
        run: Recipe,
        objective: Objective,
        verifier: Any,
        engine: Engine | None = None,
        first_step: int = 0,
        metrics: MetricsFile | None = None,
        **trl_arguments: Any,
    ):
        trl_arguments["args"].reward_weights = list(objective.reward.weights)
        super().__init__(reward_funcs=reward_columns(objective.reward.names), **trl_arguments)
        for model in filter(None, (self.model, self.ref_model)):
            beat_at_each_pass(model)
        fill_reference_adapter(self.model)
        args, accelerator, main = self.args, self.accelerator, self.accelerator.is_main_process
        self.run_config, self.objective, self.first_step, self.metrics_file = run, objective, first_step, metrics
        self.memory, self.grader, self.step_metrics = PromptMemory(), Grader(verifier), StepMetrics()
        self.prompting: Prompting = trained_prompting(run, args, objective.prompting)
        self.rollback = RollBack(args.output_dir, run.max_rollbacks, updates_of_a_batch(args), main=main)
        self.record = Recorder()
        self.controls = ControllerFeed(lambda: self.objective.controllers, self.record, self.rollback.ask)
        self.guards = GuardFeed(run.guards, args.max_completion_length, self.rollback.ask, main=main, metrics=metrics)
        self.record.listeners += [self.controls.observe, self._guarded, self.log_mean]
        self.oversampling = Oversampling(run.max_oversampling)
        state = (self.memory, objective, self.rollback, self.guards, self.oversampling)
        self.run_state = RunState(*state, dataset=self.train_dataset)
        self.add_callback(self.controls)
        self.add_callback(self.guards)
        self.engine = engine if engine is not None else self.own_engine()
        self.weights = EngineWeights(self.engine, lambda: self.model_wrapped)
        self.prompts = PromptRows.of(args, self.train_dataset, accelerator.process_index, accelerator.num_processes)
        tokenizer, kwargs, dataset = self.processing_class, self.chat_template_kwargs, self.train_dataset
        chat = (tokenizer, Template.of(tokenizer, kwargs), kwargs)
        shape, budget = BatchShape.of(args, accelerator.process_index, accelerator.num_processes), run.thinking_budget
        self.maker = RolloutMaker(objective, self.memory, self.engine, self.grader, *chat, dataset, shape, budget)
        window = getattr(self.model.config, "max_position_embeddings", None)
        self.references = ReferenceScorer(self.maker, self._model_log_probs, window, self.record)
        self.token_fields = TokenFields(tokenizer)
        self.reads_reference = self.beta != 0.0 and (self.loss_type in TRL_LOSS_TYPES or reads_reference(objective))
        self.pass_by_length = PassByLength(self.token_log_probs, accelerator, args.per_device_train_batch_size)
        self.teachers = self.add_teachers(objective)
        self.objective_loss = ObjectiveLoss(
            objective,
            self.token_log_probs,
            self.step_metrics,
            ranks=accelerator.num_processes,
            micro_batches=args.steps_per_generation,
            cap=self.max_completion_length,
            teachers=self.teachers,
            router_weight=self.router_aux_loss_coef if self.aux_loss_enabled else None,
        )
        self.micro_batches = MicroBatches.of(run, args, accelerator, objective, aux_loss=self.aux_loss_enabled)
        self.update: Update | None = None
        self.logged_rows: list[dict[str, Any]] = []
        self._last_step_at: float | None = None

    def own_engine(self) -> Engine:
        settings = EngineSettings(self.processing_class, self.model, unwrapped=self.model_for_generation)
        return create_engine(self.run_config.engine, settings)

    # ---- one micro-batch of an optimizer step ----

    def training_step(self, model, inputs, num_items_in_batch):
        """`inputs`: the number of this micro-step in the run."""
        model.train()
        self.end_skip()
        if self.update is None or self.micro_step % (self.args.steps_per_generation * self.num_iterations) == 0:
            with self.counted_in_step_time():
                self.update = self.cut(self.make_batch(self.prompts.at(inputs[0])))
        update, place = self.update, self.micro_step % self.args.steps_per_generation
        if update.idle[place]:
            return self.skip_micro_step()
        rows, last = update.rows_trained(place), self.accelerator.sync_gradients
        step = super().training_step if rows else self.skip_update
        loss = step(model, update.parts[place], num_items_in_batch)
        beat()
        self.guards.check_loss(loss, self.state.global_step)
        if last:
            self.record_update(rows)
        return loss

    def make_batch(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Generate, verify and score: turns this rank's data rows into a batch with advantages. Collective."""
        with self.record.timed("time/rollout"):
            moment = self.moment
            sampled = self.sample(rows, moment)
            batch = self.tensors(sampled.rollouts)
            old = self.policy_pass(batch)
            fields = self.fields(sampled.rollouts, batch, old, moment)
            trim = self.verify(sampled.rollouts, moment)
            scores = self.score(sampled, trim, fields, moment)
            trained = self.with_scores(batch, trim, scores)
            everything = {**trained, "completion_mask": batch["completion_mask"]}  # with the tokens that the trim cuts
            self.observation = self.observe(everything, sampled.sampling_state, old)
            self.record_batch(sampled.rollouts, trim, scores)
            return trained

    @property
    def moment(self) -> Moment:
        step = self.state.global_step
        return Moment(self.first_step + step, step / max(self.state.max_steps, 1), step)

    def sample(self, rows: list[dict[str, Any]], moment: Moment) -> Sampled:
        """Plan the prompts and generate. New prompts may replace filtered groups."""
        maker, rounds, step = self.maker, self.run_config.max_resample_rounds, self.state.global_step
        batch, sampling_state = maker.begin(rows, moment), SamplingState(self.objective.sampling)
        if self.weights.due(step):
            with self.record.timed("time/sync_weights"):
                self.weights.sync(step)
        done = sample(maker, batch, moment, sampling_state, rounds, self.oversampling, self.record)
        return Sampled(batch, sampling_state, done)

    def tensors(self, rollouts: RolloutRound) -> dict[str, Tensor]:
        """Token ids and masks of this rank's rows. Records the lengths of all rows. Collective."""
        pad, device = self.processing_class.pad_token_id, self.accelerator.device
        found = rollouts.tensors(pad, self.pad_to_multiple_of, logprobs=self.engine.capabilities.sampler_logprobs)
        mine = torch.tensor(rollouts.sizes({*self.eos_token_ids, pad}), device=device)
        prompt, completion, forced, ended = self.accelerator.gather(mine).unbind(1)
        if forced.any() or self.maker.makes_exits:
            found |= rollouts.forced_masks(self.pad_to_multiple_of)
        if self.teachers is not None:
            found |= self.teachers.prompts(rollouts, self.pad_to_multiple_of)
        self.count_tokens(int((prompt + completion).sum()))
        for name, value in length_metrics(completion - forced, ended.bool()).items():
            self.log_mean(name, value)
        return {name: values.to(device) for name, values in found.items()}

    def policy_pass(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor] | None:
        """(n, T) log-probs and entropies of the sampling policy; None if nothing needs them before the update.

        Adds `old_per_token_logps` (several optimizer steps per batch) and `ref_per_token_logps` (`beta`) to `batch`."""
        several, found = updates_of_a_batch(self.args) > 1, None
        with self.without_gradient():
            if several or self.objective.needs & OF_POLICY_PASS:
                with self.record.timed("time/log_prob_pass"):
                    found = self.pass_by_length(self.model, batch)
            if self.reads_reference:
                with self.reference() as model:
                    batch["ref_per_token_logps"] = self.pass_by_length(model, batch, entropy=False)[0]
        if found is not None and several:
            batch["old_per_token_logps"] = found[0]
        return found

    def fields(
        self, rollouts: RolloutRound, batch: dict[str, Tensor], old: tuple[Tensor, Tensor] | None, moment: Moment
    ) -> dict[str, Tensor]:
        """Optional fields of `Rollouts` that any component needs, of the whole batch. Collective."""
        local = self.token_fields(self.objective.needs, rollouts, batch, old)
        found = {name: self._gather_columns(values, FILL.get(name, 0)) for name, values in local.items()}
        return found | self.references.fields(rollouts, moment)

    def verify(self, rollouts: RolloutRound, moment: Moment) -> Trimmed:
        """The records of all rollouts of the batch, on every rank, as sampled and as cut by the trim slot."""
        verdicts, seconds, waited = self.grader.result()
        self.record.all({"time/verify": seconds, "time/verify_wait": waited, **self.grader.metrics()})
        return trimmed(self.maker, rollouts, self.maker.gathered_records(rollouts, verdicts), moment)

    def score(self, sampled: Sampled, trim: Trimmed, fields: dict[str, Tensor], moment: Moment) -> Scores:
        """Filter, reward and advantage of whole groups; then components are updated, also with groups not in the batch."""
        more, records = sampled.resampling.records, trim.sampled
        rollouts = self.maker.rollouts(records, moment, fields)
        everything = self.maker.rollouts(records + more, moment) if more else rollouts
        scored = rollouts if trim.cut is None else self.maker.rollouts(trim.records, moment, trim.fields(fields))
        masked = scored.truncated if self.run_config.mask_truncated else None
        found = step_measurements(self.objective, rollouts, scored, trim, masked, moment)
        self.record.all({**sampled.sampling_state.metrics(rollouts), **self.engine.metrics(), **found})
        with self.record.timed("time/score"):
            scores = self.objective.score(scored, masked)
            self.objective.update(rollouts, everything)
        keep = torch.cat([scores.keep, sampled.resampling.kept(rollouts.group_size)])
        self.record.all({**group_metrics(everything, records + more, keep), **sampled.resampling.metrics()})
        self.guards.scored(scores)
        return scores

    def with_scores(self, batch: dict[str, Tensor], trim: Trimmed, scores: Scores) -> dict[str, Tensor]:
        """Cut trimmed rows; add advantages, training mask and counts to this rank's rows. Collective."""
        group, rank = self.maker.shape.group_size, self.maker.shape.rank
        batch = trim.tensors(batch, rank, self.processing_class.pad_token_id)
        found = with_scores(batch, scores, trim.correct, group_size=group, rank=rank)
        return {**found, "num_items_in_batch": self.accelerator.gather(found["train_mask"].sum()).sum()}

    def observe(
        self, batch: dict[str, Tensor], sampling_state: SamplingState, old: tuple[Tensor, Tensor] | None
    ) -> Observation:
        """Observe entropies and the log-prob mismatch: now, if a pass was made, otherwise during the update."""
        reported = SAMPLED in batch
        from_update = old is None and (reported or entropy_is_read(self.objective.controllers, self.guards.on.values()))
        observation = Observation(self.step_metrics, sampling_state, self.judge_mismatch, reported, from_update)
        if old is not None:
            observation.see(batch, *old)
            observation.end()
        return observation

    # ---- update ----

    def cut(self, batch: dict[str, Tensor]) -> Update:
        """Make the micro-batches. Rows in none of them get a pass without a gradient, if something needs the result."""
        update = self.micro_batches.cut(batch, self.moment.step)
        self.record.all(update.metrics)
        if self.observation.from_update:
            with self.record.timed("time/log_prob_pass"), torch.no_grad():
                logps, entropies = self.pass_by_length(self.model, update.batch, update.left_out)
            if update.left_out:
                rows = take(update.batch, update.left_out)
                self.observation.see(rows, logps[update.left_out], entropies[update.left_out])
        return update

    def loss(self, model: Any, micro_batch: dict[str, Any]) -> Tensor:
        """The loss of one micro-batch. The mismatch is checked before the last backward pass, which under DeepSpeed moves the
        weights."""
        micro_batch = without_padding(micro_batch)
        if self.loss_type in TRL_LOSS_TYPES:
            loss, logps, entropies = self.trl_loss(model, micro_batch)
        else:
            accumulated = self.current_gradient_accumulation_steps
            loss, logps, entropies = self.objective_loss(model, micro_batch, self.moment.progress, accumulated)
        if self.observation.from_update:
            if not micro_batch.get("spare"):
                self.observation.see(micro_batch, logps, entropies)
            if self.accelerator.sync_gradients:
                self.observation.end()
        return loss

    def judge_mismatch(self, measured: dict[str, float]) -> None:
        self.record.all({f"mismatch/{name}": value for name, value in measured.items()})
        check_mismatch(self.guards.mismatch, measured, self.state.global_step, self.engine.facts())

    # ---- the end of a step ----

    def before_logging(self) -> None:
        """Guards and rollback. A step at which a guard stops the run is logged with its completions, but not saved."""
        if self.guards.stopping is not None:
            self.control.should_log, self.control.should_save, self.control.should_evaluate = True, False, False
        if (back := self.rollback.decide(self.state.global_step, self.args.device)) is None:
            return
        controllers = self.objective.controllers
        before = [controller.state_dict() for controller in controllers]
        self.load_checkpoint(back.path)
        self.weights.forget()  # an evaluation at this step may have sent the weights that are rolled back
        for controller, state in zip(controllers, before, strict=True):
            controller.rolled_back(state)
        self.control.should_save = True
        if self.metrics_file is not None:
            self.metrics_file.write(back.step, back.event(self.first_step))
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, RollBackListener):
                callback.on_roll_back(self.args, self.state, self.control, back.to_step)

    def after_logging(self) -> None:
        if self.guards.stopping is not None:
            raise StoppedByGuard(self.guards.stopping)

    # ---- checkpoints ----

    @property
    def micro_steps(self) -> int:
        return self.prompts.micro_steps

    def component_state(self) -> dict[str, Any]:
        return self.run_state.state_dict()

    def load_component_state(self, state: Mapping[str, Any]) -> None:
        self.run_state.load_state_dict(state)

    def carry_over(self, state: Mapping[str, Any]) -> None:
        """Load the state of an earlier stage."""
        self.run_state.carry_over(state)

    def close(self) -> None:
        self.grader.close()
        self.engine.close()

    # ---- record ----

    def record_batch(self, rollouts: RolloutRound, trim: Trimmed, scores: Scores) -> None:
        """The rewards, and the rows of the completions table. Collective."""
        names, group = self.objective.reward.names, self.maker.shape.group_size
        for name, value in reward_metrics(scores.columns, scores.weights, names, group).items():
            self.log_mean(name, value)
        if self.accelerator.is_main_process:
            self.logged_rows = trim.logged(completion_rows(trim.records, scores, names, group))
        if self.log_completions:
            prompts, completions = zip(*gather_object(rollouts.chats()), strict=True)
            table = {"prompt": prompts, "completion": completions, "advantages": row_advantages(trim.records, scores)}
            self.log_table(table, dict(zip(self.reward_func_names, scores.columns.T.tolist(), strict=True)))

    def _guarded(self, name: str, value: float) -> None:
        if self.model.training:  # not during an evaluation on other problems
            self.guards.observe(name, value)

    def take_logged_rows(self) -> list[dict[str, Any]]:
        """The rows of the completions table since the last call."""
        rows, self.logged_rows = self.logged_rows, []
        return rows

    def record_update(self, rows: int) -> None:
        """An optimizer step in which `rows` of all ranks train. Collective."""
        means = self.step_metrics.flush(self.accelerator, self.controls.known)
        self.record.all({**means, "update/rows_trained": float(rows), "update/skipped": float(not rows)})
        now = time.perf_counter()
        if self._last_step_at is not None:  # TRL's `step_time` excludes the time between two steps
            self.record("time/whole_step", now - self._last_step_at)
        self._last_step_at = now

    def trained_model(self) -> TrainedModel:
        """Interface for an evaluation during training."""
        return TrainedModel(self.maker, self.weights, self.prompting, self.temperature, self.save_weights)

    def _model_log_probs(self, ids: Tensor, mask: Tensor, columns: int) -> Tensor:
        """Log-probs of the trained model, without a gradient, in parts of a micro-batch."""
        device, rows = self.accelerator.device, self.args.per_device_train_batch_size
        with torch.no_grad():
            return self.token_log_probs(self.model, ids.to(device), mask.to(device), columns, rows_at_once=rows)[0]

    def _gather_columns(self, rows: Tensor, fill: float) -> Tensor:
        """(N, T) of all ranks from (n, T'), or (N,) from (n,), on the CPU."""
        plain = rows.long() if rows.dtype == torch.bool else rows
        found = self.accelerator.gather(self.accelerator.pad_across_processes(plain, dim=1, pad_index=fill))
        return found.cpu().to(rows.dtype)
