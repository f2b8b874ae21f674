"""Reading the rows of one generation batch: `python benchmarks/rows.py [--rows 8192] [--record]`.

Every micro-step of TRL's loader collates the rows of the whole generation batch again, so a batch of N rows in micro-batches
of m costs N * N / m row reads. Ours yields the number of the micro-step, and the rows are read once. Both sides are the
loaders of real trainers; TRL's is timed over `--sampled` micro-steps and scaled to all of them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from trl import GRPOTrainer

from tersely.configs.recipe import Recipe

RESULTS = Path(__file__).parent / "results" / "rows.json"


def make_trainer(folder: str, rows: int, micro_batch: int):
    from tersely.configs.verifier import VerifierSpec
    from tersely.data import load_problems
    from tersely.engines.models import load_model
    from tersely.rewards.verify.build import make_verifier
    from tersely.rl.check import RLStage, check_stage
    from tersely.rl.config import checked
    from tersely.rl.trainer import TerselyTrainer

    recipe = {
        "model_name_or_path": "testbed",
        "dataset": {"path": "testbed", "limit": rows // 8},
        "run_dir": folder,
        "group_size": 8,
        "prompts_per_step": rows // 8,
        "micro_batch": micro_batch,
        "max_steps": 1,
    }
    stage = check_stage(checked(Recipe.of(recipe)).stages[0])
    assert isinstance(stage, RLStage)
    run, objective, args = stage.run, stage.objective, stage.args
    model, tokenizer = load_model("testbed", args)
    return TerselyTrainer(
        run=run,
        objective=objective,
        verifier=make_verifier(VerifierSpec()),
        model=model,
        args=args,
        train_dataset=load_problems(run.dataset, seed=0),
        processing_class=tokenizer,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=8192)
    parser.add_argument("--micro-batch", type=int, default=8)
    parser.add_argument("--sampled", type=int, default=4, help="micro-steps of TRL's loader to time")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(folder, options.rows, options.micro_batch)
        steps = options.rows // options.micro_batch
        began = time.perf_counter()
        loader = iter(trainer.get_train_dataloader())
        first = next(loader)
        rows = trainer.prompts.at(first[0])
        for _ in range(steps - 1):
            next(loader)
        ours = time.perf_counter() - began
        trainer._get_train_sampler = lambda dataset=None: trainer.prompts.stream  # the same prompts
        theirs = iter(GRPOTrainer.get_train_dataloader(trainer))
        next(theirs)
        began = time.perf_counter()
        for _ in range(options.sampled):
            same = next(theirs)
        trl = (time.perf_counter() - began) / options.sampled * steps
        assert [row["prompt_id"] for row in rows] == [row["prompt_id"] for row in same]
        trainer.grader.close()
    found = {"rows": options.rows, "micro_batch": options.micro_batch, "ours_s": round(ours, 3), "trl_s": round(trl, 1)}
    found["ratio"] = round(trl / ours, 1)
    print(json.dumps(found))
    if options.record:
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
