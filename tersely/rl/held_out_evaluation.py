"""Evaluates on held-out problems during training; keeps the best model by accuracy at a budget, and can stop the run.

The trainer's engine generates the samples with fixed seeds, so training is not affected and two evaluations differ only by
the weights. Results are lines of metrics.jsonl (`eval/...`), which a restart reads back.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tersely.configs.evaluation import EvaluationSpec
from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError
from tersely.core.files import write_json
from tersely.core.heartbeat import now
from tersely.core.logging import get_logger
from tersely.core.seeds import sample_seed
from tersely.engines.base import Generation, GenerationRequest
from tersely.engines.chat import Prompting
from tersely.rl.checkpoints.rollback import RollBackListener
from tersely.rl.guards.callback import GuardFeed
from tersely.rl.recording.run_files import MetricsFile
from tersely.rl.rollouts.engine_weights import EngineWeights
from tersely.rl.rollouts.maker import RolloutMaker
from tersely.rl.rollouts.phased import generate_rows
from tersely.rl.rollouts.rollout import RolloutRound
from tersely.rl.trained_prompting import settled_plan

logger = get_logger(__name__)

BEST = "best"


@dataclass(frozen=True)
class TrainedModel:
    """Interface to the model in training, for an evaluation during training."""

    maker: RolloutMaker
    weights: EngineWeights
    prompting: Prompting
    temperature: float
    save: Callable[[Path], None]
    """Save the weights to a folder. Collective."""

    def generate(self, requests: Sequence[GenerationRequest], temperature: float, step: int) -> list[Generation]:
        """Generate with the weights of the current step, under the run's thinking budget. Collective."""
        self.weights.sync(step)
        maker, count = self.maker, len(requests)
        plan = settled_plan(maker.objective.prompting, maker.shape.group_size, self.prompting, maker.budget)
        batch = RolloutRound([{}] * count, [plan] * count, maker.tokenizer, maker.template)
        return maker.decode(generate_rows, batch, requests, temperature=temperature)


class HeldOutEvaluation(RollBackListener):
    """`rows`: problems with the columns of `load_problems`. `metrics`: the main process's file, None on other ranks."""

    def __init__(
        self,
        spec: EvaluationSpec,
        model: TrainedModel,
        rows: Sequence[dict[str, Any]],
        metrics: MetricsFile | None,
        guards: GuardFeed,
    ):
        if not len(rows):
            raise ConfigError("evaluation.dataset: got no problems; expected at least one. Check its split and filter")
        self.spec, self.model, self.metrics, self.guards = spec, model, metrics, guards
        self.tokenizer, self.grader, self.shape = model.maker.tokenizer, model.maker.grader, model.maker.shape
        self.rows = list(rows)
        self.cap = spec.max_new_tokens or self.shape.cap
        self.budget = min(spec.budget or self.cap, self.cap)
        self.best: tuple[float, int] | None = None  # (accuracy at the budget, step)
        self.below = 0
        self.evaluated: set[int] = set()
        self.counted: list[
            tuple[int, float, float]
        ] = []  # (step, accuracy at the budget, accuracy by the run's contract)
        self._stopped = False

    # ---- schedule ----

    def on_train_begin(self, args, state, control, **kwargs):
        self._remember(state.global_step)
        if state.global_step == 0 and 0 not in self.evaluated:
            self._evaluate(args, state, control)

    def on_step_end(self, args, state, control, **kwargs):
        due = state.global_step % self.spec.every == 0 or state.global_step >= state.max_steps
        if due and state.global_step not in self.evaluated:
            self._evaluate(args, state, control)

    def _remember(self, step: int) -> None:
        """Read the results of earlier attempts up to this step on the main process and broadcast them."""
        from accelerate.utils import broadcast_object_list

        lines = read_evaluations(self.metrics, step) if self.metrics is not None else []
        sent: list[Any] = [lines]
        broadcast_object_list(sent)
        for line in sent[0]:
            if line.get("event") == "roll_back":
                self._forget(line["to_step"])
            else:
                self._note(line["step"], line["eval/accuracy_at_budget"], self._accuracy(line))
        self.guards.held_out_before([(step, accuracy) for step, _, accuracy in self.counted])

    def on_roll_back(self, args, state, control, to_step: int) -> None:
        """Discard evaluations after `to_step`, because their weights were rolled back, and evaluate the restored weights."""
        if not any(step > to_step for step in self.evaluated):
            return
        self._forget(to_step)
        if self._stopped:
            control.should_training_stop = self._stopped = False
        self._evaluate(args, state, control)

    def _forget(self, to_step: int) -> None:
        kept = [line for line in self.counted if line[0] <= to_step]
        lost_best = self.best is not None and self.best[1] > to_step  # its folder has weights that were rolled back
        best = None if lost_best else self.best
        self.evaluated, self.below, self.counted = set(), 0, []
        for line in kept:
            self._note(*line)
        self.best = best

    def _note(self, step: int, at_budget: float, accuracy: float) -> bool:
        """Record an evaluation; True if it is the best so far (the earlier one of ties)."""
        self.evaluated.add(step)
        self.counted.append((step, at_budget, accuracy))
        low = self.spec.floor is not None and not at_budget >= self.spec.floor
        self.below = self.below + 1 if low else 0
        better = self.best is None or at_budget > self.best[0]
        if better and not math.isnan(at_budget):
            self.best = (at_budget, step)
            return True
        return False

    def _accuracy(self, found: Mapping[str, float]) -> float:
        """Accuracy by the run's contract: with `ended`, only answers of ended completions count."""
        of_all = found.get("eval/accuracy", math.nan)
        return found.get("eval/accuracy_ended", of_all) if self.grader.ended else of_all

    # ---- measurement ----

    def _evaluate(self, args, state, control) -> None:
        began = time.perf_counter()
        step = state.global_step
        now(f"evaluating at step {step}")
        found = self._measured(args.seed, step)
        accuracy = self._accuracy(found)
        best = self._note(step, found["eval/accuracy_at_budget"], accuracy)
        self.guards.held_out(step, accuracy)
        if best and self.spec.keep_best:
            self._keep(args, step, found)
        now(f"after the evaluation at step {step}")
        stop = self.below >= self.spec.patience
        found["eval/seconds"] = time.perf_counter() - began
        if self.metrics is not None:
            self.metrics.write(step, {**found, "eval/best": float(best)})
            logger.info(line(step, state.max_steps, found, self.budget, best))
        if stop and self.spec.floor is not None:
            control.should_training_stop = self._stopped = True
            if self.metrics is not None:
                logger.warning(
                    f"stopped at step {step}: accuracy at {self.budget} tokens on the held-out problems has been below "
                    f"evaluation.floor = {self.spec.floor:g} {self.below} times in a row. The best model, of step "
                    f"{self.best[1] if self.best else '-'}, is in {Path(args.output_dir) / BEST}"
                )

    def _measured(self, seed: int, step: int) -> dict[str, float]:
        """Every rank generates its share; all ranks get the same results."""
        from accelerate.utils import gather_object

        tasks = [(q, j) for q in range(len(self.rows)) for j in range(self.spec.samples)]
        mine = (
            tasks[self.shape.rank :: self.shape.ranks] or tasks[:1]
        )  # generation is collective, so every rank needs a task
        requests = [self._request(q, j, seed) for q, j in mine]
        generations = self.model.generate(requests, self._temperature(), step)
        texts = self.tokenizer.batch_decode([g.token_ids for g in generations], skip_special_tokens=True)
        verdicts = self.grader.verifier.verify_rows([self.rows[q] for q, _ in mine], texts)
        graded = [
            (q, j, verdict.correct, len(generation.sampled_ids), generation.finish == "length")
            for (q, j), generation, verdict in zip(mine, generations, verdicts, strict=True)
        ]
        ended = self.grader.ended
        return held_out_metrics(gather_object(graded), len(self.rows), self.spec.samples, self.budget, ended)

    def _request(self, q: int, j: int, seed: int) -> GenerationRequest:
        row = self.rows[q]
        ids = self.model.prompting.ids(self.tokenizer, row["prompt"])
        return GenerationRequest(tuple(ids), sample_seed(seed, 0, row["prompt_id"], j, salt="held-out"), self.cap)

    def _temperature(self) -> float:
        return self.model.temperature if self.spec.temperature is None else self.spec.temperature

    def _keep(self, args: Any, step: int, found: dict[str, float]) -> None:
        folder = Path(args.output_dir) / BEST
        self.model.save(folder)
        if self.metrics is not None:
            self.tokenizer.save_pretrained(str(folder))
            write_json(folder / "best.json", {"step": step, "budget": self.budget, **found})


def held_out_metrics(
    graded: Sequence[tuple[int, int, float, int, bool]], problems: int, samples: int, budget: int, ended: bool = False
) -> dict[str, float]:
    """(problem, sample, correct, tokens, truncated) of all ranks -> `eval/` metrics, as defined in the reports.

    ended: an answer within the budget counts only if its completion ended by itself.
    """
    import numpy as np

    from tersely.eval import metrics, stats

    correct, tokens, cut = (np.full((problems, samples), np.nan) for _ in range(3))
    for q, j, is_correct, length, truncated in graded:
        correct[q, j], tokens[q, j], cut[q, j] = is_correct, length, truncated
    summary, correct_ended = metrics.token_summary(tokens, cut), metrics.where_ended(correct, cut)
    within = correct_ended if ended else correct
    return {
        "eval/accuracy": metrics.mean_at_n(correct),
        "eval/accuracy_ended": metrics.mean_at_n(correct_ended),
        "eval/accuracy_se": stats.standard_error(correct),
        "eval/accuracy_at_budget": float(metrics.accuracy_at_budget(within, tokens, [budget])[0]),
        "eval/tokens_mean": summary["mean"],
        "eval/tokens_p95": summary["p95"],
        "eval/truncated": summary["truncated"],
        "eval/undecided": metrics.undecided_rate(correct),
        "eval/budget": float(budget),
    }


def read_evaluations(metrics: MetricsFile, step: int) -> list[dict[str, Any]]:
    """Held-out evaluations and rollbacks of this stage up to its step `step`, in order; steps of the stage."""
    found: list[dict[str, Any]] = []
    path = metrics.path
    for text in path.read_text().splitlines() if path.exists() else ():
        try:
            row = json.loads(text)
        except ValueError:
            continue
        if row.get("stage") != metrics.stage:
            continue
        row["step"] = row.get("step", math.inf) - metrics.first_step
        if row["step"] > step:
            continue
        if row.get("event") == "roll_back":
            found.append({**row, "to_step": row["to_step"] - metrics.first_step})
        elif isinstance(row.get("eval/accuracy_at_budget"), float):
            found = [one for one in found if one["step"] != row["step"] or one.get("event")] + [row]
    return found


def line(step: int, steps: int, found: Mapping[str, float], budget: int, best: bool) -> str:
    """Line such as `eval 20/120  acc 0.812 (0.790 at 96)  tokens 61/141 (mean/p95)  trunc 0.4%  3.1 s  best`."""
    return (
        f"eval {step}/{steps}  acc {found['eval/accuracy']:.3f} ({found['eval/accuracy_at_budget']:.3f} at {budget})  "
        f"tokens {found['eval/tokens_mean']:.0f}/{found['eval/tokens_p95']:.0f} (mean/p95)  "
        f"trunc {found['eval/truncated']:.1%}  {found['eval/seconds']:.1f} s{'  best' if best else ''}"
    )


def held_out_evaluation(
    run: Recipe,
    seed: int,
    trained_on: Collection[str],
    model: TrainedModel,
    metrics: MetricsFile | None,
    guards: GuardFeed,
) -> HeldOutEvaluation | None:
    """Create the recipe's callback, or None. Warns about problems that are also in the training data (by prompt id)."""
    from tersely.data import load_problems_with_card

    spec = run.evaluation
    if spec is None:
        return None
    data, _ = load_problems_with_card(
        spec.dataset, seed=seed, instruction=run.instruction, system_prompt=run.system_prompt
    )
    shared = set(data["prompt_id"]) & set(trained_on)
    if shared and metrics is not None:
        logger.warning(f"{len(shared)} of {len(data)} problems of evaluation.dataset are also training problems")
    return HeldOutEvaluation(spec, model, data.to_list(), metrics, guards)
