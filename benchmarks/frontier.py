"""The training-free frontier of the embedded model: every decoding strategy that needs no second model, beside plain sampling.

    python benchmarks/frontier.py --record

writes benchmarks/results/frontier.json: accuracy and tokens of each strategy with intervals over held-out problems, and the
change against plain sampling on the same problems. SEAL's vector and DiffAdapt's probe are fitted on training problems. What is
in --out already is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

from tersely.eval.report.write import write_report
from tersely.launch.cli.eval import main as evaluate
from tersely.launch.cli.fit import main as fit

RESULTS = Path(__file__).parent / "results" / "frontier.json"
CAP = 448
TRAINING_PROBLEMS, TRAINING_SAMPLES = 64, 4
"""What the two fitted strategies are fitted on."""
CHANGES = ("tokens_change", "tokens_change_ci", "accuracy_change", "accuracy_change_ci", "verdict")


def fitted(out: Path) -> list[str]:
    """The two strategies that need a file, after fitting it on training problems."""
    train = out / "train.yaml"
    train.write_text(f"path: testbed\nsplit: train\ninstruction: ''\nmax_new_tokens: {CAP}\n")
    size = ["--limit", str(TRAINING_PROBLEMS), "--samples", str(TRAINING_SAMPLES)]
    evaluate(["testbed", "--benchmarks", str(train), *size, "--out", str(out / "train")])
    vector, probe = out / "vector.safetensors", out / "probe.safetensors"
    fit(["seal", "testbed", str(out / "train"), "--benchmark", str(train), "--border", "\\n", "--out", str(vector)])
    fit(["diff_adapt", "testbed", str(out / "train"), "--benchmark", str(train), "--out", str(probe)])
    return [f"seal:vector={vector}", f"diff_adapt:probe={probe},budget={CAP}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("runs/frontier"))
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS}")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    began = time.process_time()
    strategies = fitted(options.out)
    evaluate(
        [
            *(
                "testbed",
                "--benchmarks",
                "testbed",
                "--limit",
                str(options.problems),
                "--samples",
                str(options.samples),
            ),
            *("--frontier", "answer_prefix=boxed", "--out", str(options.out / "base"), "--name", "base"),
            *(part for strategy in strategies for part in ("--strategy", strategy)),
        ]
    )
    report = json.loads(write_report([options.out / "base"], None, options.out / "report").read_text())
    changes = {c["run"]: {key: c[key] for key in CHANGES} for c in report["comparisons"]}
    rows: list[dict[str, Any]] = []
    for run in report["runs"]:
        entry = run["benchmarks"]["testbed"]
        name = (run["strategy"] or "vanilla").replace(f"{options.out}/", "")
        figures = {key: entry[key] for key in ("accuracy", "accuracy_ci", "tokens_mean", "tokens_ci", "truncated")}
        rows.append({"strategy": name, **figures, **changes.get(run["name"], {})})
        print(f"{name:<50} {100 * entry['accuracy']:5.1f} %  {entry['tokens_mean']:6.1f} tokens")
    result = {
        "command": f"python benchmarks/frontier.py --problems {options.problems} --samples {options.samples} --record",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "cpu_seconds": round(time.process_time() - began),
        "strategies": rows,
    }
    if options.record:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
