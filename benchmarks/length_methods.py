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
from pathlib import Path
from typing import Any, NamedTuple

from length_claims import CLAIMS
from seeds import CHANGE_KEYS, RUN_KEYS, evaluated, parser, testbed_recipe, trained, write

BASELINES = ("truncation", "dler", "grpo")
PRIMARY = ("alp", "lapo", "hbpo", "selfbudgeter", "autothink", "arm")


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
BASE = ("vanilla", *ELLIPSIS)
"""Strategies of the base."""


def of_seed(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Train and evaluate what is missing, and the figures of one seed."""
    from tersely.eval.report.data import report_data
    from tersely.eval.report.write import load_all

    folder = options.out / f"seed-{seed}"
    places = {"base": evaluated(folder, "base", "testbed", options, seed, BASE)}
    claims: dict[str, Any] = {}
    for method in options.methods:
        run_dir = trained(testbed_recipe(method, folder, seed, options))
        for one in EVALUATIONS.get(method, (Evaluation(method, "final"),)):
            model = str(run_dir / one.weights)
            places[one.name] = evaluated(folder, one.name, model, options, seed, one.strategies)
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
    p = parser(__doc__, __file__, seeds="0", steps=40, prompts=4, problems=128, out=Path("runs/length-methods"))
    p.add_argument("--methods", default=[*BASELINES, *PRIMARY], type=lambda text: text.split(","))
    options = p.parse_args()
    seeds = [of_seed(options, int(seed)) for seed in options.seeds.split(",")]
    for found in seeds:
        print("\n".join(line(name, run) for name, run in found["runs"].items()))
        print(json.dumps(found["claims"], indent=1))
    if options.record:
        write(__file__, options, {"seeds": seeds})


if __name__ == "__main__":
    main()
