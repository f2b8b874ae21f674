"""How long two vLLM servers stand idle while refused groups are replaced: in rounds, and at once.

python benchmarks/served.py        prints the table, records it in benchmarks/results/served.json

Both draw the same batches: prompts and seeds come from the place of a group, not from what was ready first; the same
weights are trained on them, and the benchmark stops where they differ.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import secrets
import statistics
import tempfile
from pathlib import Path

STEPS, ROUNDS, REPEATS = 4, 3, 3
RECIPE = {
    "engine": "vllm_server",
    "reward": "correctness",
    "filter": "mixed_groups",
    "max_resample_rounds": ROUNDS,
    "prompts_per_step": 16,
    "group_size": 8,
    "micro_batch": 32,
    "max_steps": STEPS,
    "save_steps": STEPS,
    "max_completion_length": 192,
    "vllm_max_model_length": 288,
    "evaluation": {},
    "gradient_checkpointing": False,
}
NAMES = ("engine/idle_share", "time/engine_idle", "time/draw", "groups/resampled")


def run(folder: Path, addresses: list[str], streaming: bool) -> list[dict]:
    from tersely.configs.load import load_recipe
    from tersely.rl.rollouts import sample
    from tersely.rl.run import train

    real = sample.can_stream
    if not streaming:
        sample.can_stream = lambda *_: False
    try:
        train(load_recipe("testbed/alp", {**RECIPE, "servers": addresses, "run_dir": str(folder)}))
    finally:
        sample.can_stream = real
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [row for row in rows if "engine/idle_share" in row]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--servers", type=int, default=2)
    options = parser.parse_args()
    from tersely.engines.server.auth import VARIABLE
    from tersely.launch.servers import servers

    os.environ.setdefault(VARIABLE, secrets.token_hex(16))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        overrides = ["--vllm_max_model_length", str(RECIPE["vllm_max_model_length"])]
        started = stack.enter_context(servers("testbed/alp", overrides, folder / "logs", options.servers))
        addresses = [server.address for server in started]
        run(folder / "warm", addresses, True)
        made: dict[str, list[dict]] = {"in rounds": [], "at once": []}
        for repeat in range(REPEATS):  # in turn, so that whatever else the machine does falls on both
            for name, rows in made.items():
                rows += run(folder / f"{name} {repeat}", addresses, name == "at once")
    losses = [[row["loss"] for row in rows] for rows in made.values()]
    assert losses[0] == losses[1], "not the same batches"
    for row in (row for rows in made.values() for row in rows):
        row["time/draw"] = row["time/generate"] + row.get("time/resample", 0.0)
    medians = {
        name: {key: round(statistics.median(row[key] for row in rows), 4) for key in NAMES}
        for name, rows in made.items()
    }
    for key in NAMES:
        print(f"{key:20s}" + "".join(f"{name:>12s} {medians[name][key]:8.3f}" for name in medians))
    record = {
        "command": "python benchmarks/served.py",
        "servers": options.servers,
        "steps": STEPS * REPEATS,
        "recipe": RECIPE,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "median_of_steps": medians,
    }
    path = Path(__file__).parent / "results" / "served.json"
    path.write_text(json.dumps(record, indent=2) + "\n")
    print(f"recorded in {path.relative_to(Path(__file__).parents[1])}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
