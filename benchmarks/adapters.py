"""ALP on the embedded model, training all weights, a LoRA adapter, and steering vectors: same steps, prompts and rollouts.

    python benchmarks/adapters.py --record

writes benchmarks/results/adapters.json: trained parameters, accuracy and tokens with intervals over
held-out problems, and the change against the base. One seed. What is in --out already is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

from seeds import CHANGE_KEYS

RESULTS = Path(__file__).parent / "results" / "adapters.json"
TRAINED: dict[str, dict[str, Any]] = {
    "all weights": {},
    "lora": {"peft": {"rank": 8, "alpha": 16}, "learning_rate": 2e-3},
    "steering": {"peft": {"method": "steering"}, "learning_rate": 3e-2},
}
"""Changes of the recipe testbed/alp."""


def trained(folder: Path, name: str, size: dict[str, Any]) -> Path:
    """Train one of `TRAINED`, or go on with it; returns its run directory."""
    from tersely.configs.load import load_recipe
    from tersely.rl.run import train

    run_dir = folder / name.replace(" ", "-")
    if not (run_dir / "final").exists():
        train(load_recipe("testbed/alp", {**TRAINED[name], **size, "run_dir": str(run_dir)}), resume=run_dir.exists())
    return run_dir


def evaluated(folder: Path, name: str, model: str, options: argparse.Namespace) -> Path:
    """Records of one model."""
    from tersely.launch.cli.eval import main as evaluate

    out = folder / "eval" / name.replace(" ", "-")
    size = ("--samples", str(options.samples), "--limit", str(options.problems))
    if evaluate([model, "--benchmarks", "testbed", *size, "--out", str(out), "--name", name]):
        raise SystemExit(f"the evaluation of {name} failed")
    return out


def parameters(name: str) -> int:
    """Number of trained parameters."""
    from tersely.configs.peft import PeftSpec
    from tersely.engines.model_checks import model_config
    from tersely.launch.preflight.model import shape_of

    shape = shape_of(model_config("testbed"), PeftSpec.of(TRAINED[name].get("peft")))
    return shape.adapter or shape.parameters


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--prompts", type=int, default=4, help="prompts per step, of 16 rollouts each")
    parser.add_argument("--problems", type=int, default=128, help="held-out problems")
    parser.add_argument("--samples", type=int, default=4, help="samples per held-out problem")
    parser.add_argument("--seed", type=int, default=0, help="of the training")
    parser.add_argument("--out", type=Path, default=Path("runs/adapters"))
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS}")
    options = parser.parse_args()
    from tersely.eval.report.data import report_data
    from tersely.eval.report.write import load_all

    size = {"max_steps": options.steps, "prompts_per_step": options.prompts, "seed": options.seed}
    places = [evaluated(options.out, "base", "testbed", options)]
    for name in TRAINED:
        places.append(evaluated(options.out, name, str(trained(options.out, name, size)), options))
    runs = load_all(places)
    report = report_data(runs, runs[0])
    changes = {change["run"]: {key: change[key] for key in CHANGE_KEYS} for change in report["comparisons"]}
    rows = []
    for run in report["runs"]:
        name, found = run["name"], run["benchmarks"]["testbed"]
        row = {key: found[key] for key in ("accuracy", "accuracy_ci", "tokens_mean", "tokens_ci", "truncated")}
        row |= {"parameters": parameters(name), "changes": TRAINED[name], **changes[name]} if name in TRAINED else {}
        rows.append({"name": name, **row})
        print(json.dumps(rows[-1]))
    sizes = (
        f"--steps {options.steps} --prompts {options.prompts} --problems {options.problems} --samples {options.samples}"
    )
    result = {
        "command": f"python benchmarks/adapters.py {sizes} --seed {options.seed} --record",
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, 1 thread per process",
        "runs": rows,
    }
    if options.record:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
