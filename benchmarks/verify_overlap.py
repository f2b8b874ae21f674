"""What a training step waits for its verdicts, with verification beside the log-prob work and in front of it.

    python benchmarks/verify_overlap.py [--steps 12]

Short runs of the testbed in this process, alike but for the moment at which the verdicts are waited for, with its own
golds, and with golds that are formulas of their own, which only math-verify can compare, each completion ending in
another: the hardest batch for a verifier. Written to benchmarks/results/verifier.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from tersely.configs.recipe import Recipe

ROOT = Path(__file__).resolve().parents[1]


class Hard:
    """A verifier that sees other golds and answers than the run has: formulas that only its workers can decide."""

    def __init__(self, inner: Any):
        self.inner, self.asked = inner, 0

    def verify(self, golds: list[str], texts: list[str]) -> list[Any]:
        numbers = range(self.asked, self.asked + len(golds))
        self.asked += len(golds)
        matrices = [f"\\begin{{pmatrix}}x&{k}\\\\{k + 1}&y\\end{{pmatrix}}" for k in numbers]
        answers = [f"\\begin{{bmatrix}}x&{k}+0\\\\{k + 1 + k % 2}&y\\end{{bmatrix}}" for k in numbers]
        return self.inner.verify(matrices, [f"{text}\\boxed{{{a}}}" for text, a in zip(texts, answers, strict=True)])

    def stats(self) -> dict[str, float]:
        return self.inner.stats()

    def close(self) -> None:
        self.inner.close()


def run(folder: Path, steps: int, hard: bool, overlap: bool) -> dict[str, float]:
    """Medians over the steps but the first two: seconds of verifying, of waiting for it, of a step, and the share."""
    from tersely.rewards.verify import build
    from tersely.rl.rollouts import grading
    from tersely.rl.run import train

    start, make = grading.Grader.start, build.make_verifier

    def start_and_wait(self, rows, texts):
        start(self, rows, texts)
        self.settle(*self.result()[:2])

    waited_before = grading.Grader.start
    try:
        build.make_verifier = lambda spec: Hard(make(spec)) if hard else make(spec)
        if not overlap:
            grading.Grader.start = start_and_wait
        train(
            Recipe.of(
                {
                    "model_name_or_path": "testbed",
                    "dataset": {"name": "testbed", "split": "train", "limit": 512},
                    "reward": {"name": "alp", "beta": 0.3, "normalizer": 380},
                    "prompts_per_step": 8,
                    "group_size": 8,
                    "micro_batch": 16,
                    "updates_per_batch": 2,
                    "max_steps": 2 * steps,
                    "max_completion_length": 256,
                    "save_strategy": "no",
                    "preflight": False,
                    "run_dir": str(folder),
                    "gradient_checkpointing": False,
                }
            ),
            resume=False,
        )
    finally:
        grading.Grader.start, build.make_verifier = waited_before, make
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if "time/verify" in row][2:]
    middle = {
        name: statistics.median(row[f"time/{name}"] for row in rows) for name in ("verify", "verify_wait", "rollout")
    }
    if not overlap:
        middle["verify_wait"] = middle["verify"]  # waited for where it was started
    return {**middle, "share of the rollout phase": middle["verify_wait"] / middle["rollout"], "batches": len(rows)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12, help="generation batches of each run")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "verifier.json")
    options = parser.parse_args()
    results: dict[str, Any] = {"command": f"python benchmarks/verify_overlap.py --steps {options.steps}"}
    for golds, hard in (("testbed", False), ("formulas", True)):
        for name, overlap in (("beside the log-probs", True), ("in front of them", False)):
            with tempfile.TemporaryDirectory() as folder:
                results[f"{golds}, {name}"] = run(Path(folder) / "run", options.steps, hard, overlap)
    print(json.dumps(results, indent=1))
    known = json.loads(options.out.read_text()) if options.out.exists() else {}
    options.out.write_text(json.dumps({**known, "overlap": results}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
