"""`tersely launch slurm RECIPE --nodes N --gpus-per-node G`: command-line options; `launch/slurm.py` renders it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tersely.core.paths import place_option
from tersely.launch import sweep
from tersely.launch.cli.parser import Parser, check_keys, note, whole
from tersely.launch.slurm import ACCELERATE, launch_dir, render, submit
from tersely.launch.slurm_checks import check_recipes


def main(argv: Sequence[str]) -> int:
    known = parser()
    options, rest = known.parse_known_args(argv)
    from tersely.configs.load import load_recipe
    from tersely.launch.after import check_evaluation
    from tersely.launch.cli.parser import overrides_from

    rest, found = sweep.split_axes(rest)
    overrides, axes = overrides_from(rest), sweep.axes_of(options, found)
    check_keys([*overrides, *(axis.key for axis in axes)], known)
    recipe = load_recipe(options.recipe, overrides, note)
    check_evaluation(options)
    tasks = [variant.recipe for variant in sweep.variants(recipe, axes, overrides, note)]
    scripts = render(recipe, options, tasks)
    check_recipes(tasks, options)
    if options.dry_run:
        for name, text in scripts.items():
            print(f"# ==== {name} ====\n{text}", end="" if text.endswith("\n") else "\n")
        return 0
    folder = launch_dir(recipe)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "logs").mkdir(exist_ok=True)
    for name, text in scripts.items():
        (folder / name).write_text(text)
    job = submit(folder / "train.sbatch")
    print(f"job {job}: {folder / 'train.sbatch'}, logs in {folder / 'logs'}")
    if "eval.sbatch" in scripts:
        kind = "aftercorr" if len(tasks) > 1 else "afterok"
        after = submit(folder / "eval.sbatch", f"--dependency={kind}:{job}", "--kill-on-invalid-dep=yes")
        print(f"job {after}: {folder / 'eval.sbatch'}, starts when {job} has finished")
    return 0


class SlurmParser(Parser):
    def parse_known_args(self, args=None, namespace=None):
        """Join `--sbatch --gres=gpu:4` with `=`: argparse reads a separate value that begins with dashes as an option."""
        words = list(sys.argv[1:] if args is None else args)
        for place in reversed(range(len(words) - 1)):
            if words[place] == "--sbatch":
                words[place : place + 2] = [f"--sbatch={words[place + 1]}"]
        return super().parse_known_args(words, namespace)


def parser() -> Parser:
    p = SlurmParser(
        prog="tersely launch slurm",
        description="Render and submit a training job. Any recipe key is also an option.",
        allow_abbrev=False,
    )
    p.add_argument("recipe", type=place_option, help="recipe file, or name of a shipped recipe")
    p.add_argument("--nodes", type=whole(1), default=1)
    p.add_argument(
        "--gpus-per-node", type=whole(0), required=True, help="GPUs per node; 0 runs one process per node on the CPU"
    )
    p.add_argument(
        "--rollout-nodes", type=whole(0), default=0, help="additional nodes for rollout servers, one server per GPU"
    )
    p.add_argument(
        "--time", default="24:00:00", help="time limit of one attempt, in sbatch syntax (default: %(default)s)"
    )
    p.add_argument("--partition")
    p.add_argument("--account")
    p.add_argument("--qos")
    p.add_argument("--constraint")
    p.add_argument("--cpus-per-task", type=whole(1), help="CPUs per task; the ranks of a node share one task")
    p.add_argument(
        "--sbatch",
        action="append",
        default=[],
        metavar="OPTION",
        help='any sbatch option, for example "--gres=gpu:a100:4"; can be repeated',
    )
    p.add_argument("--mem", help="memory per node, in sbatch syntax")
    p.add_argument("--job-name")
    p.add_argument(
        "--accelerate",
        type=place_option,
        help=f"one of {', '.join(ACCELERATE)}, or a config file (default: zero2; multi_gpu without GPUs)",
    )
    sweep.add_options(p)
    p.add_argument("--array-limit", type=whole(1), help="maximum number of array tasks that run at once")
    p.add_argument("--venv", type=place_option, help="virtual environment or conda prefix to activate in the job")
    p.add_argument("--module", action="append", default=[], help="module to load; can be repeated")
    p.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="environment variable to export in the job; can be repeated",
    )
    p.add_argument(
        "--lead",
        type=whole(1),
        default=300,
        help="seconds before the time limit at which the run saves and stops (default: %(default)s)",
    )
    p.add_argument(
        "--requeues",
        type=whole(0),
        default=100,
        help="maximum number of requeues after a saved stop (default: %(default)s)",
    )
    p.add_argument(
        "--eval", metavar="BENCHMARKS", help="evaluate on these benchmarks in a second job after the training"
    )
    p.add_argument("--eval-options", default="", help="more options for `tersely eval`, as one string")
    p.add_argument("--dry-run", action="store_true", help="print the files without writing or submitting anything")
    return p
