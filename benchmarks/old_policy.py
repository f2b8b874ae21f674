"""What the log-prob pass before the update cost, and what is left of it: one optimizer step per batch, default guards.

    padded     a pass over all rows before the update, in parts of equal row counts, each padded to the longest row of all
    by_length  the same pass, cut by length
    one_pass   what the trainer does: the update's own forward passes, and one without a gradient for rows that it leaves out

All three train on the same completions (learning rate 0, one seed a sample) and alternate in one process. Time is CPU time of
a step without generation, so that load of the machine counts little; tokens are those that went through the model, padding
included, and do not depend on the machine.

    python benchmarks/old_policy.py --rounds 3 --record
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from tersely.configs.recipe import Recipe

os.environ.setdefault("OMP_NUM_THREADS", "1")

RESULTS = Path(__file__).parent / "results" / "old_policy.json"
KINDS = ("padded", "by_length", "one_pass")
SIGNALS = {"all_rows_train": 1.0, "half_of_the_groups_train": 0.5}
"""Share of problems whose groups are mixed."""


class Mixed:
    """A verifier that costs nothing: of a share of the problems every second answer is correct, of the others all are."""

    def __init__(self, share: float):
        self.share = share

    def verify(self, golds, texts):
        golds = [str(gold) for gold in golds]
        mixed = [int.from_bytes(gold.encode(), "little") % 97 < 97 * self.share for gold in golds]
        right = [float(not m or len(text) % 2) for m, text in zip(mixed, texts, strict=True)]
        return [
            type("V", (), {"status": "correct" if r else "incorrect", "correct": r, "answer": None})() for r in right
        ]


def make(folder: str, dataset, steps: int, share: float):
    from tersely.engines.models import load_model
    from tersely.rl.config import checked, grpo_config, objective_of
    from tersely.rl.trainer import TerselyTrainer

    recipe = {
        "run_dir": folder, "model_name_or_path": "testbed", "max_steps": steps, "max_completion_length": 256,
        "prompts_per_step": 8, "group_size": 8, "micro_batch": 16, "learning_rate": 0.0, "gradient_checkpointing": False,
        "save_strategy": "no", "disable_tqdm": True, "seed": 0,
    }  # fmt: skip
    run = checked(Recipe.of(recipe))
    objective = objective_of(run)
    args = grpo_config(run, objective, 1)
    model, tokenizer = load_model("testbed", args)
    return TerselyTrainer(
        run=run, objective=objective, verifier=Mixed(share), model=model, args=args, train_dataset=dataset,
        processing_class=tokenizer,
    )  # fmt: skip


def with_pass_before(trainer, kind: str) -> None:
    """Have the trainer make a pass over all rows before the update."""
    import torch

    def padded(batch):
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
        mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
        width, rows = batch["completion_ids"].shape[1], trainer.args.per_device_train_batch_size
        return trainer.token_log_probs(trainer.model, ids, mask, width, entropy=True, rows_at_once=rows)[:2]

    def passed(batch):
        with torch.no_grad():
            return padded(batch) if kind == "padded" else trainer.pass_by_length(trainer.model, batch)

    trainer.policy_pass = passed


def measure(kind: str, dataset, steps: int, share: float) -> list[dict[str, float]]:
    """CPU seconds and padded tokens of each step but the first."""
    import torch
    from transformers import PrinterCallback, TrainerCallback
    from trl import GRPOTrainer

    found: list[dict[str, float]] = []
    now: dict[str, float] = defaultdict(float)
    original = GRPOTrainer._get_per_token_logps_and_entropies

    def counted(self, model, ids, *args, **kwargs):
        now["tokens_with_gradient" if torch.is_grad_enabled() else "tokens_without"] += ids.numel()
        return original(self, model, ids, *args, **kwargs)

    class Clock(TrainerCallback):
        def on_step_begin(self, *args, **kwargs):
            now.clear()
            self.began = time.process_time()

        def on_step_end(self, *args, **kwargs):
            now["cpu_s"] = time.process_time() - self.began - now.pop("generation", 0.0)
            found.append({name: now[name] for name in ("cpu_s", "tokens_with_gradient", "tokens_without")})

    with tempfile.TemporaryDirectory() as folder:
        trainer = make(folder, dataset, steps, share)
        generate = trainer.engine.generate

        def timed(*args, **kwargs):
            began = time.process_time()
            made = generate(*args, **kwargs)
            now["generation"] += time.process_time() - began
            return made

        trainer.engine.generate = timed
        if kind != "one_pass":
            with_pass_before(trainer, kind)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(Clock())
        GRPOTrainer._get_per_token_logps_and_entropies = counted
        try:
            trainer.train()
        finally:
            GRPOTrainer._get_per_token_logps_and_entropies = original
            trainer.grader.close()
    return found[1:]


def main() -> None:
    from datasets import Dataset

    from tersely.data import load_problems

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4, help="steps a run; the first is dropped")
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS}")
    options = parser.parse_args()
    data = load_problems({"path": "testbed", "split": "train", "limit": 128}, seed=0)
    dataset = Dataset.from_list([dict(row) for row in data])
    result = {
        "command": f"python benchmarks/old_policy.py --rounds {options.rounds} --steps {options.steps} --record",
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, 1 thread",
    }
    for signal, share in SIGNALS.items():
        steps: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
        for _ in range(options.rounds):
            for kind in KINDS:
                steps[kind] += measure(kind, dataset, options.steps, share)
        ratios = {
            kind: [mine["cpu_s"] / base["cpu_s"] for mine, base in zip(steps[kind], steps["padded"], strict=True)]
            for kind in KINDS
        }
        result[signal] = {
            kind: {
                "cpu_ratio_median": statistics.median(ratios[kind]),
                "cpu_ratio_quartiles": statistics.quantiles(ratios[kind], n=4),
                "cpu_s_median": statistics.median(step["cpu_s"] for step in steps[kind]),
                "tokens_with_gradient": statistics.fmean(step["tokens_with_gradient"] for step in steps[kind]),
                "tokens_without_gradient": statistics.fmean(step["tokens_without"] for step in steps[kind]),
                "steps": len(steps[kind]),
            }
            for kind in KINDS
        }
    print(json.dumps(result, indent=1))
    if options.record:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
