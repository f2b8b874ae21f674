"""Recipes of the embedded model trained and evaluated for several seeds: what the benchmarks of methods share.

A seed's folder has the run directory of each method and its evaluation in eval/. What is finished there is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # torch is imported only to train
    from tersely.configs.recipe import Recipe

RUN_KEYS = ("accuracy", "accuracy_ci", "tokens_mean", "tokens_ci", "truncated", "adaptation_ratio", "by_level")
CHANGE_KEYS = ("tokens_change", "tokens_change_ci", "accuracy_change", "accuracy_change_ci", "verdict")

Pairs = Sequence[tuple[str, str]]
"""(base, run) of the comparisons."""


def testbed_recipe(
    name: str, folder: Path, seed: int, options: argparse.Namespace, changes: Mapping[str, Any] | None = None
) -> Recipe:
    """A recipe of configs/recipes/testbed, with the options --steps and --prompts where they are given."""
    from tersely.configs.load import load_recipe

    sizes = {"max_steps": options.steps, "prompts_per_step": options.prompts}
    stated = {key: value for key, value in sizes.items() if value is not None}
    return load_recipe(f"testbed/{name}", {"run_dir": str(folder / name), "seed": seed, **stated, **(changes or {})})


def trained(recipe: Recipe) -> Path:
    """Train a recipe through all its stages, or resume it; returns its run directory."""
    from tersely.core.logging import log_line
    from tersely.rl.checkpoints import manifest
    from tersely.rl.run import train

    run_dir = Path(recipe.run_dir)
    if manifest.fault(run_dir / "final") is not None:
        log_line(f"\n== training {run_dir}")
        train(recipe, resume=run_dir.exists())
    return run_dir


def evaluated(
    folder: Path, name: str, model: str, options: argparse.Namespace, seed: int, strategies: Sequence[str] = ()
) -> Path:
    """Records of a model on the held-out problems; returns their folder."""
    from tersely.launch.cli import eval as evaluation

    out = folder / "eval" / name.replace("/", "-").replace(" ", "-")
    size = ("--samples", str(options.samples), "--limit", str(options.problems), "--seed", str(seed))
    where = ("--benchmarks", "testbed", "--out", str(out), "--name", name)
    if evaluation.main([model, *where, *size, *(part for text in strategies for part in ("--strategy", text))]):
        raise SystemExit(f"the evaluation of {name} failed")
    return out


def figures(places: Mapping[str, Sequence[Path]], pairs: Pairs) -> dict[str, Any]:
    """Accuracy and tokens of each run and the change of each pair, with 95 % intervals over problems, and over seeds if a run
    has several places."""
    from tersely.eval.compare import compare
    from tersely.eval.report.data import report_data
    from tersely.eval.report.write import load_all

    named = {name: f"{name}={','.join(map(str, where))}" for name, where in places.items()}
    runs = load_all(list(named.values()))
    report = report_data(runs, runs[0], anyway=True)  # some methods train with another prompt
    found = {
        name: {key: run["benchmarks"]["testbed"][key] for key in RUN_KEYS}
        for name, run in zip(named, report["runs"], strict=True)
    }
    comparisons = []
    for base, run in pairs:
        change = compare(named[base], named[run], anyway=True)[0]
        comparisons.append({"base": base, "run": run, **{key: change[key] for key in CHANGE_KEYS}})
    return {"runs": found, "comparisons": comparisons}


def ends(run_dir: Path, metric: str, share: float = 0.1) -> dict[str, float]:
    """Mean of a metric of training over the first and the last tenth of the logged steps."""
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    values = [row[metric] for row in rows if row.get(metric) is not None]
    n = max(int(len(values) * share), 1)
    return {"first": statistics.fmean(values[:n]), "last": statistics.fmean(values[-n:])}


def write(file: str, options: argparse.Namespace, content: Mapping[str, Any]) -> None:
    """Write benchmarks/results/NAME.json: command, commit, machine, and the content."""
    from tersely.core.environment import environment

    sizes = {key: value for key, value in vars(options).items() if key not in ("out", "record") and value is not None}
    texts = [f"--{key} {','.join(value) if isinstance(value, list) else value}" for key, value in sizes.items()]
    header = {
        "command": " ".join([f"python benchmarks/{Path(file).name}", *texts, "--record"]),
        "commit": environment()["commit"],
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
    }
    results_of(file).write_text(json.dumps({**header, **content}, indent=1) + "\n")


def results_of(file: str) -> Path:
    return Path(file).parent / "results" / f"{Path(file).stem}.json"


PROMPTS = "prompts per step, of 16 rollouts each (default: the recipe's)"


def parser(description: str | None, file: str, prompts_help: str = PROMPTS, **defaults: Any) -> argparse.ArgumentParser:
    """The command line of a benchmark of methods; `prompts_help` is that of --prompts, `defaults` replaces the sizes."""
    p = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seeds", default="0,1,2")
    p.add_argument("--steps", type=int, help="optimizer steps of each training (default: the recipe's)")
    p.add_argument("--prompts", type=int, help=prompts_help)
    p.add_argument("--problems", type=int, default=256, help="held-out problems")
    p.add_argument("--samples", type=int, default=4, help="samples per held-out problem")
    p.add_argument("--out", default=f"runs/{Path(file).stem}-seeds", type=Path)
    p.add_argument("--record", action="store_true", help=f"write {results_of(file)}")
    p.set_defaults(**defaults)
    return p


def main(
    options: argparse.Namespace,
    file: str,
    names: Sequence[str],
    pairs: Pairs,
    recipe_of: Callable[[str, Path, int, argparse.Namespace], Recipe] = testbed_recipe,
    more: Callable[[Path], dict[str, Any]] = lambda folder: {},
) -> None:
    """Train and evaluate what is missing, print, and record; `more` takes a seed's folder and returns what else is recorded."""
    seeds: list[dict[str, Any]] = []
    places: dict[str, list[Path]] = {}
    for seed in map(int, options.seeds.split(",")):
        folder = options.out / f"seed-{seed}"
        here = {"base": evaluated(folder, "base", "testbed", options, seed)}
        for name in names:
            run_dir = trained(recipe_of(name, folder, seed, options))
            here[name] = evaluated(folder, name, str(run_dir / "final"), options, seed)
        for name, place in here.items():
            places.setdefault(name, []).append(place)
        seeds.append({"seed": seed, **figures({name: [place] for name, place in here.items()}, pairs), **more(folder)})
        show(f"seed {seed}", seeds[-1])
    over = figures(places, pairs)
    if len(seeds) > 1:
        show("all seeds", over)
    if options.record:
        write(file, options, {"over_seeds": over, "seeds": seeds})


def show(title: str, found: dict[str, Any]) -> None:
    print(f"\n{title}")
    for name, run in found["runs"].items():
        (low, high), (few, many) = run["accuracy_ci"], run["tokens_ci"]
        print(
            f"  {name:<14} accuracy {run['accuracy']:.1%} [{low:.1%}, {high:.1%}]  "
            f"tokens {run['tokens_mean']:.1f} [{few:.1f}, {many:.1f}]  truncated {run['truncated']:.1%}"
        )
    for change in found["comparisons"]:
        print(f"  {change['run']} against {change['base']}: {change['verdict']}")
