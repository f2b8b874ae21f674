"""The six primary length methods on the embedded model, all stages, beside the baselines: same problems, steps and rollouts.

    python benchmarks/length_methods.py --methods alp,lapo,hbpo,selfbudgeter,autothink,arm --record

writes benchmarks/results/length_methods.json: of every method, its stages and its own prompting at inference, accuracy and
tokens with intervals over problems, by level, adaptation ratio, and the change against the base; and what the method's paper
claims, measured (`length_claims.py`). The recipes are those of configs/recipes/testbed, with `--steps` and `--prompts` in
place of 120 and 8. Baselines: the base, plain GRPO, plain truncation, DLER. What is there already is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any, NamedTuple

from length_claims import CLAIMS

RESULTS = Path(__file__).parent / "results" / "length_methods.json"
BASELINES = ("truncation", "dler", "grpo")
PRIMARY = ("alp", "lapo", "hbpo", "selfbudgeter", "autothink", "arm")
RUN_KEYS = ("accuracy", "accuracy_ci", "tokens_mean", "tokens_ci", "truncated", "adaptation_ratio", "by_level")
CHANGE_KEYS = ("tokens_change", "tokens_change_ci", "accuracy_change", "accuracy_change_ci", "verdict")


class Evaluation(NamedTuple):
    name: str
    weights: str
    """Folder under the method's run directory."""
    strategies: tuple[str, ...] = ("vanilla",)


ELLIPSIS = ("prompting:of=autothink",)
HBPO_TEXT = "text: '<think> I will answer the question with {budget} tokens.'"
EVALUATIONS: dict[str, tuple[Evaluation, ...]] = {
    "lapo": (Evaluation("lapo/discovery", "stages/1-discovery/final"), Evaluation("lapo", "final")),
    "hbpo": (
        Evaluation(
            "hbpo",
            "final",
            (
                "vanilla",
                "prompting:of={name: hbpo, prompting: efficient}",
                f"prompting:of={{name: hbpo, budgets: [56, 112, 224, 280], {HBPO_TEXT}}}",
            ),
        ),
    ),
    "selfbudgeter": (
        Evaluation("selfbudgeter/warm", "stages/1-warm/final"),
        Evaluation(
            "selfbudgeter",
            "final",
            ("vanilla", *(f"prompting:of={{name: selfbudgeter, budget: {n}}}" for n in (30, 60, 120))),
        ),
    ),
    "autothink": (
        Evaluation("autothink/balance", "stages/1-balance/final", ELLIPSIS),
        Evaluation("autothink/accuracy", "stages/2-accuracy/final", ELLIPSIS),
        Evaluation("autothink", "final", ELLIPSIS),
    ),
    "arm": (
        Evaluation("arm/formats", "stages/1-formats/final"),
        Evaluation(
            "arm",
            "final",
            (
                "vanilla",
                *(f"prompting:of={{name: arm, mode: {mode}}}" for mode in ("direct", "short_cot", "code", "long_cot")),
                "arm_consensus",
            ),
        ),
    ),
}
BASE = Evaluation("base", "", ("vanilla", *ELLIPSIS))


def trained(folder: Path, method: str, seed: int, steps: int, prompts: int) -> Path:
    """Train one recipe of the testbed through all its stages, or go on with it; returns its run directory."""
    from tersely.configs.load import load_recipe
    from tersely.core.logging import log_line
    from tersely.rl.run import train

    run_dir = folder / method
    if not (run_dir / "final" / "config.json").exists():
        log_line(f"\n== tersely train --config testbed/{method} --run_dir {run_dir} --seed {seed} --max_steps {steps}")
        changes = {"run_dir": str(run_dir), "seed": seed, "max_steps": steps, "prompts_per_step": prompts}
        train(load_recipe(f"testbed/{method}", changes), resume=run_dir.exists())
    return run_dir


def evaluated(folder: Path, model: str, one: Evaluation, options: argparse.Namespace, seed: int) -> Path:
    """Records of one model under each of its strategies, in one folder."""
    from tersely.launch.cli import eval as evaluation

    out = folder / "eval" / one.name.replace("/", "-")
    strategies = [part for text in one.strategies for part in ("--strategy", text)]
    size = ("--samples", str(options.samples), "--limit", str(options.problems), "--seed", str(seed))
    where = ("--benchmarks", "testbed", "--out", str(out), "--name", one.name)
    if evaluation.main([model, *where, *size, *strategies]):
        raise SystemExit(f"the evaluation of {one.name} failed")
    return out


def of_seed(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Train and evaluate what is missing, and the figures of one seed."""
    from tersely.eval.report.data import report_data
    from tersely.eval.report.write import load_all

    folder = options.out / f"seed-{seed}"
    places = {"base": evaluated(folder, "testbed", BASE, options, seed)}
    claims: dict[str, Any] = {}
    for method in options.methods:
        run_dir = trained(folder, method, seed, options.steps, options.prompts)
        for one in EVALUATIONS.get(method, (Evaluation(method, "final"),)):
            places[one.name] = evaluated(folder, str(run_dir / one.weights), one, options, seed)
        if method in CLAIMS:
            claims[method] = CLAIMS[method](run_dir, places)
    runs = load_all(list(places.values()))
    report = report_data(runs, runs[0], anyway=True)  # each asked the way its method asks
    found = {run["name"]: {key: run["benchmarks"]["testbed"][key] for key in RUN_KEYS} for run in report["runs"]}
    for comparison in report["comparisons"]:
        found[comparison["run"]]["against_base"] = {key: comparison[key] for key in CHANGE_KEYS}
    return {"seed": seed, "runs": found, "claims": claims}


def line(name: str, run: dict[str, Any]) -> str:
    change = run.get("against_base")
    against = (
        f"  tokens {change['tokens_change']:+.0%}, accuracy {100 * change['accuracy_change']:+.1f} pt" if change else ""
    )
    ratio = run["adaptation_ratio"]
    spread = "  -" if ratio is None else f"{ratio:.2f}"
    return f"{name:<60} {run['accuracy']:.3f}  {run['tokens_mean']:6.1f}  adaptation {spread}{against}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default=",".join((*BASELINES, *PRIMARY)), type=lambda text: text.split(","))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--steps", default=40, type=int, help="optimiser steps of reinforcement learning a method")
    parser.add_argument(
        "--prompts", default=4, type=int, help="prompts a step, of 16 rollouts each; the recipes have 8"
    )
    parser.add_argument("--samples", default=4, type=int, help="samples a held-out problem")
    parser.add_argument("--problems", default=128, type=int, help="held-out problems")
    parser.add_argument("--out", default="runs/length-methods", type=Path)
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS}")
    options = parser.parse_args()
    seeds = [of_seed(options, int(seed)) for seed in options.seeds.split(",")]
    for found in seeds:
        print("\n".join(line(name, run) for name, run in found["runs"].items()))
        print(json.dumps(found["claims"], indent=1))
    if options.record:
        size = f"--steps {options.steps} --prompts {options.prompts}"
        command = f"--methods {','.join(options.methods)} --seeds {options.seeds} {size} --record"
        machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, 1 thread a process"
        result = {"command": f"python benchmarks/length_methods.py {command}", "machine": machine, "seeds": seeds}
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
