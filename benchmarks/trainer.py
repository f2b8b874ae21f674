"""A training step of our trainer with `grpo` against TRL's own GRPOTrainer: same model, same rows, same engine.

Both train on the same ready-made generation batch, so what is compared is the step (scoring, forward, backward,
optimiser), not the luck of sampling. Ratios within one run; the two alternate, so drift of the machine hits both.

    python benchmarks/trainer.py --rounds 15 --record

Peak memory is the resident set of a process that runs one trainer alone, at its highest.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tersely.configs.recipe import Recipe

os.environ.setdefault("OMP_NUM_THREADS", "1")

RESULTS = Path(__file__).parent / "results" / "trainer.json"


class RightWhenEven:
    """A verifier that costs nothing, for both."""

    def verify(self, golds, texts):
        verdict = [type("V", (), {"status": "correct", "correct": float(len(t) % 2), "answer": None})() for t in texts]
        return verdict


def rows(count: int):
    from datasets import Dataset

    from tersely.data import load_problems

    data = load_problems({"path": "testbed", "split": "train", "limit": count}, seed=0)
    return Dataset.from_list([dict(row) for row in data])


def ours(folder: str, dataset, steps: int):
    from tersely.engines.models import load_model
    from tersely.rl.config import checked, grpo_config, objective_of
    from tersely.rl.trainer import TerselyTrainer

    recipe = {**settings(folder, steps), "model_name_or_path": "testbed", "aggregate": "token"}
    recipe |= {"prompts_per_step": 8, "group_size": 8, "micro_batch": 16}
    run = checked(Recipe.of(recipe))
    objective = objective_of(run)
    args = grpo_config(run, objective, 1)
    model, tokenizer = load_model("testbed", args)
    return TerselyTrainer(
        run=run,
        objective=objective,
        verifier=RightWhenEven(),
        model=model,
        args=args,
        train_dataset=dataset,
        processing_class=tokenizer,
    )


def theirs(folder: str, dataset, steps: int, reference):
    """TRL's trainer, generating through the same engine so that both train on the same completions."""
    from trl import GRPOConfig, GRPOTrainer

    from tersely.engines.models import load_model

    class SameRollouts(GRPOTrainer):
        def _generate_and_score_completions(self, inputs):
            self._rows = inputs
            return super()._generate_and_score_completions(inputs)

        def _generate_single_turn(self, prompt_ids, images, fields, num_generations, has_tool_images=False):
            batch = reference.maker.begin(self._rows)
            requests = batch.requests(
                seed=self.args.seed,
                step=self.state.global_step,
                first_row=0,
                group_size=num_generations,
                cap=self.max_completion_length,
            )
            return [list(g.token_ids) for g in self.engine.generate(requests, temperature=1.0)], None

        def _get_train_sampler(self, dataset=None):
            return reference.prompts.stream

    def reward(completions, **_):
        return [float(len(c[0]["content"]) % 2) for c in completions]

    values = settings(folder, steps)
    values["output_dir"] = values.pop("run_dir")
    args = GRPOConfig(
        **values,
        num_generations=8,
        per_device_train_batch_size=16,
        gradient_accumulation_steps=4,
        beta=0.0,
        loss_type="dapo",
        bf16=False,
        use_cpu=True,
        report_to="none",
    )
    model, tokenizer = load_model("testbed", args)
    trainer = SameRollouts(
        model=model, args=args, reward_funcs=reward, train_dataset=dataset, processing_class=tokenizer
    )
    trainer.engine = reference.engine.__class__(trainer.model, tokenizer)
    return trainer


def settings(folder: str, steps: int) -> dict:
    return {
        "run_dir": folder,
        "max_steps": steps,
        "max_completion_length": 128,
        "learning_rate": 0.0,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        "seed": 0,
    }


def timed_steps(trainer) -> list[float]:
    """Seconds of each optimiser step, rollout included."""
    from transformers import PrinterCallback, TrainerCallback

    class Clock(TrainerCallback):
        def __init__(self):
            self.marks: list[float] = []

        def on_step_begin(self, *args, **kwargs):
            self.began = time.perf_counter()

        def on_step_end(self, *args, **kwargs):
            self.marks.append(time.perf_counter() - self.began)

    clock = Clock()
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(clock)
    trainer.train()
    return clock.marks


def peak_mib(which: str, steps: int) -> float:
    """Highest resident memory, MiB, of a fresh process that runs only one of the two trainers."""
    command = [sys.executable, __file__, "--alone", which, "--steps", str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.strip().splitlines()[-1])


def alone(which: str, steps: int) -> None:
    dataset = rows(128)
    with tempfile.TemporaryDirectory() as folder:
        trainer = ours(folder, dataset, steps)
        if which == "theirs":
            trainer = theirs(folder, dataset, steps, trainer)
        timed_steps(trainer)
    # not getrusage: its maximum is inherited from whoever started the process
    print(int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text()).group(1)) / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="pairs of runs")
    parser.add_argument("--steps", type=int, default=4, help="steps a run; the first is dropped")
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS}")
    parser.add_argument("--alone", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        return alone(options.alone, options.steps)
    dataset, ratios, seconds = rows(128), [], []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            our = ours(folder, dataset, options.steps)
            their = theirs(folder, dataset, options.steps, our)
            our_steps, their_steps = timed_steps(our)[1:], timed_steps(their)[1:]
            our.grader.close()
        ratios += [a / b for a, b in zip(our_steps, their_steps, strict=True)]
        seconds += our_steps
        print(f"median ratio so far {statistics.median(ratios):.3f}", flush=True)
    memory = {name: [peak_mib(name, options.steps) for _ in range(3)] for name in ("ours", "theirs")}
    result = {
        "command": f"python benchmarks/trainer.py --rounds {options.rounds} --steps {options.steps} --record",
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, 1 thread",
        "step_time_ratio_median": statistics.median(ratios),
        "step_time_ratio_quartiles": statistics.quantiles(ratios, n=4),
        "our_step_seconds_median": statistics.median(seconds),
        "pairs": len(ratios),
        "peak_memory_ratio": statistics.median(memory["ours"]) / statistics.median(memory["theirs"]),
        "peak_memory_mib": memory,
    }
    print(json.dumps(result, indent=1))
    if options.record:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
