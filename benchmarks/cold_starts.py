"""Cold starts as the only stage of a run on the embedded model: Self-Braking Tuning, exact and dynamic, TALR, SHAD and
Entropy-SFT against plain SFT on the same traces and against the base.

    python benchmarks/cold_starts.py --seeds 0,1,2 --record

The traces are the base's own correct samples (`tersely rollouts`), sampled once per seed. Every stage has the same traces,
steps, batches and learning rate. Writes benchmarks/results/cold_starts.json: every seed's accuracy and tokens with intervals
over held-out problems, each stage against the base and against plain SFT, the same over all seeds; how many traces each form of
SBT cut, and the share of boilerplate tokens that SHAD found. About 9 minutes per seed on one core; what is there is kept.

The testbed writes one step per line, and its tokenizer has few words: the braking sentences of the paper are 43 and 54 of its
tokens, longer than many solutions. So SBT brakes with a sentence of three tokens here. A solution of the search family ends
with the test that succeeds and states the answer only in the box, so SBT has nothing to cut there and keeps it unchanged.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seeds import main, parser

if TYPE_CHECKING:
    from tersely.configs.recipe import Recipe

SBT = {"name": "sbt", "separator": ";", "brake": "wait, ok", "unstated": "keep"}
STAGES: dict[str, dict[str, Any]] = {
    "plain": {},
    "sbt_exact": {"rewrite": {**SBT, "form": "exact"}},
    "sbt_dynamic": {"rewrite": {**SBT, "form": "dynamic"}},
    "talr": {"sft_loss": "talr"},
    "shad": {"sft_loss": "shad"},
    "entropy_sft": {"sft_loss": "entropy_sft"},
}
"""What differs between the stages."""
PAIRS = (*(("base", name) for name in STAGES), *(("plain", name) for name in STAGES if name != "plain"))


def traces(folder: Path, seed: int, prompts: int) -> Path:
    """The file of the base's correct samples on training problems; it is made once."""
    from tersely.launch.cli import rollouts

    out = folder / "traces.jsonl"
    if not out.exists():
        size = ("--limit", str(prompts), "--samples", "4", "--max-new-tokens", "448", "--seed", str(seed))
        if rollouts.main(["testbed", "testbed", *size, "--out", str(out)]):
            raise SystemExit("the rollouts failed")
    return out


def recipe_of(name: str, folder: Path, seed: int, options: argparse.Namespace) -> Recipe:
    from tersely.configs.recipe import Recipe

    stage = {
        "name": "cold_start",
        "kind": "sft",
        "steps": options.steps,
        "traces": str(traces(folder, seed, options.prompts)),
        "batch_size": 32,
        "settings": {"learning_rate": 1e-3},
        **STAGES[name],
    }
    run = {"model_name_or_path": "testbed", "dataset": "testbed", "run_dir": str(folder / name), "seed": seed}
    return Recipe.of({**run, "max_completion_length": 448, "stages": [stage]})


def examples(folder: Path) -> dict[str, Any]:
    """Examples of each kind, and the share of boilerplate tokens."""
    import numpy as np

    stage = {name: folder / name / "stages" / "1-cold_start" for name in STAGES}
    kinds = {
        name: dict(Counter(example["kind"] for example in json.loads((place / "examples.json").read_text())))
        for name, place in stage.items()
    }
    tokens = sum(json.loads(line)["tokens"] for line in (folder / "traces.jsonl").read_text().splitlines())
    boilerplate = int((~np.load(stage["shad"] / "reasoning.npz")["labels"]).sum())
    return {"examples": kinds, "boilerplate": boilerplate / tokens}


if __name__ == "__main__":
    p = parser(__doc__, __file__, "training problems of the traces, of 4 samples each", steps=100, prompts=512)
    main(p.parse_args(), __file__, tuple(STAGES), PAIRS, recipe_of, examples)
