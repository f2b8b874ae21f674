"""What an evaluation costs beyond its engine, how long a report takes, and whether its intervals hold the truth.

    python benchmarks/evaluation.py overhead --record      # wall time of `tersely eval` over the bare engine, same tokens
    python benchmarks/evaluation.py report --record        # report of 50,000 records over only reading them, and bytes
    python benchmarks/evaluation.py coverage --record      # share of simulated benchmarks whose 95 % interval holds the truth

The overhead alternates the two on one engine, so that drift of the machine hits both alike; loading a model is in neither. The
best round of each is what the noise of a shared machine disturbs least.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

RESULTS = Path(__file__).parent / "results" / "evaluation.json"
LIMITS = {"overhead": 1.05, "report_over_reading": 12.0, "coverage": (0.93, 0.97)}


def overhead(options: argparse.Namespace) -> dict[str, Any]:
    """Ratio of the wall times, median over rounds."""
    from tersely.engines.base import GenerationRequest
    from tersely.eval.engines import make_evaluator

    evaluator = make_evaluator("testbed", options.engine, batch=options.batch, max_model_len=512)
    requests: list[tuple[list[GenerationRequest], dict[str, Any]]] = []
    original = evaluator.engine.generate

    def noted(batch, **sampling):
        requests.append((list(batch), sampling))
        return original(batch, **sampling)

    seconds: dict[str, list[float]] = {"eval": [], "bare": []}
    tokens = {}
    with tempfile.TemporaryDirectory() as folder:
        evaluator.engine.generate = noted
        run = {"samples": options.samples, "limit": options.problems}
        evaluator.run("testbed", Path(folder) / "warm", **run)
        evaluator.engine.generate = original
        for round_ in range(options.rounds):
            for which in ("eval", "bare")[:: 1 if round_ % 2 else -1]:
                began = time.perf_counter()
                if which == "eval":
                    facts = evaluator.run("testbed", Path(folder) / f"round{round_}", **run)
                    tokens["eval"] = round(facts["tokens_mean"] * facts["samples"])
                else:
                    tokens["bare"] = sum(len(g.token_ids) for batch, how in requests for g in original(batch, **how))
                seconds[which].append(time.perf_counter() - began)
    evaluator.engine.close()
    assert tokens["eval"] == tokens["bare"], tokens
    ratios = [a / b for a, b in zip(seconds["eval"], seconds["bare"], strict=True)]
    return {
        "engine": options.engine,
        "ratio_of_best_rounds": round(min(seconds["eval"]) / min(seconds["bare"]), 4),
        "ratio_median": round(statistics.median(ratios), 4),
        "seconds": {name: [round(value, 2) for value in values] for name, values in seconds.items()},
        "ratios": [round(ratio, 4) for ratio in ratios],
        "limit": LIMITS["overhead"],
        "tokens": tokens["eval"],
        "bare_tokens_per_s": round(tokens["bare"] / statistics.median(seconds["bare"])),
        "samples": options.samples * options.problems,
        "batch": options.batch,
    }


def report(options: argparse.Namespace) -> dict[str, Any]:
    """Four runs of 12,500 records with texts of 3 kB each, in processor time: the whole report, and only parsing the lines.

    The ratio says the same on a slow or busy machine. Rounds alternate, and the best of each counts.
    """
    import numpy as np

    from tersely.eval.records import RecordReader, RecordWriter
    from tersely.eval.report.write import write_report

    text = (
        "<think>\n"
        + "so 3 + 4 = 12 and then some more words about it. " * 60
        + "x = 7. Wait, check.</think>\n\\boxed{7}"
    )
    with tempfile.TemporaryDirectory() as folder:
        folders = []
        for number, name in enumerate(("base", "a", "b", "c")):
            rng = np.random.default_rng(number)
            folders.append(Path(folder) / name)
            with RecordWriter(folders[-1] / "records.jsonl", fsync_s=1e9) as writer:
                for q in range(500):
                    for j in range(25):
                        writer.write(made_up(name, q, j, text, rng))
        seconds: dict[str, list[float]] = {"report": [], "reading": []}
        for _ in range(options.rounds):
            began = time.process_time()
            path = write_report(folders, "base", Path(folder) / "out")
            between = time.process_time()
            read = sum(1 for run in folders for _ in RecordReader(run / "records.jsonl"))
            seconds["report"].append(between - began)
            seconds["reading"].append(time.process_time() - between)
        size = path.with_name("report.html").stat().st_size
    return {
        "records": read,
        "ratio_of_best_rounds": round(min(seconds["report"]) / min(seconds["reading"]), 2),
        "limit": LIMITS["report_over_reading"],
        "seconds": {name: [round(value, 2) for value in values] for name, values in seconds.items()},
        "html_bytes": size,
    }


def made_up(run: str, q: int, j: int, text: str, rng: Any) -> dict[str, Any]:
    right = bool(rng.random() < 0.7)
    tokens = int(rng.uniform(200, 900))
    return {
        "run": run,
        "benchmark": "made_up",
        "problem_id": f"p{q}",
        "sample": j,
        "seed": j,
        "level": str(1 + q % 5),
        "problem": "3 + 4",
        "gold": "7",
        "text": text,
        "tokens": tokens,
        "thinking_tokens": tokens - 20,
        "truncated": False,
        "verdict": "correct" if right else "incorrect",
        "correct": float(right),
        "answer": "7" if right else str(rng.integers(8, 20)),
        "finish": "stop",
        "strategy": None,
        "second": "correct" if right else "incorrect",
    }


def coverage(options: argparse.Namespace) -> dict[str, Any]:
    """120 problems of Beta(2, 1) difficulty, 4 samples each: accuracy, paired difference, and token saving."""
    import numpy as np

    from tersely.eval.stats import bootstrap_mean, paired_bootstrap

    hits = {"accuracy": 0, "paired_accuracy_difference": 0, "token_log_ratio": 0}
    for trial in range(options.trials):
        rng = np.random.default_rng(trial)
        p = rng.beta(2, 1, 120)

        base, worse = ((rng.random((120, 4)) < q[:, None]).astype(float) for q in (p, p * 0.9))
        i = bootstrap_mean(base, draws=1000, seed=trial)
        hits["accuracy"] += i.low <= 2 / 3 <= i.high
        i = paired_bootstrap(worse, base, draws=1000, seed=trial)
        hits["paired_accuracy_difference"] += i.low <= -0.1 * 2 / 3 <= i.high
        length = rng.lognormal(6, 0.5, (120, 1))
        a, b = (length * rng.lognormal(mu, 0.3, (120, 64)) for mu in (-0.5, 0.0))
        i = paired_bootstrap(a, b, statistic="log_ratio", draws=1000, seed=trial)
        hits["token_log_ratio"] += i.low <= -0.5 <= i.high
    shares = {name: round(count / options.trials, 4) for name, count in hits.items()}
    return {"trials": options.trials, "nominal": 0.95, "limits": LIMITS["coverage"], **shares}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("overhead", "report", "coverage"), help="default: all three")
    parser.add_argument("--engine", default="transformers", choices=("transformers", "vllm"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--problems", type=int, default=512)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS}")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for function in (overhead, report, coverage):
        if options.what in (None, function.__name__):
            name = function.__name__ + (f"_{options.engine}" if function is overhead else "")
            command = f"python benchmarks/evaluation.py {function.__name__}"
            if function is overhead:
                command += f" --engine {options.engine} --rounds {options.rounds} --problems {options.problems}"
                command += f" --batch {options.batch}"
            elif function is report:
                command += f" --rounds {options.rounds}"
            machine = f"{platform.machine()}, {os.cpu_count()} cores"
            results[name] = {"command": command, "machine": machine, **function(options)}
            print(name, json.dumps(results[name], indent=1), flush=True)
    if options.record:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
