"""`tersely launch slurm RECIPE --nodes N --gpus-per-node G`: options of the command; `launch/slurm.py` renders the job."""

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
        print(f"job {after}: {folder / 'eval.sbatch'}, once {job} has finished")
    return 0


class SlurmParser(Parser):
    def parse_known_args(self, args=None, namespace=None):
        """`--sbatch --gres=gpu:4`: argparse takes a value that begins with dashes for an option, unless it is joined."""
        words = list(sys.argv[1:] if args is None else args)
        for place in reversed(range(len(words) - 1)):
            if words[place] == "--sbatch":
                words[place : place + 2] = [f"--sbatch={words[place + 1]}"]
        return super().parse_known_args(words, namespace)


def parser() -> Parser:
    p = SlurmParser(
        prog="tersely launch slurm",
        description="Render and submit a training. Any key of the recipe can be given as an option too.",
        allow_abbrev=False,
    )
    p.add_argument("recipe", type=place_option, help="a recipe file, or the name of a shipped one")
    p.add_argument("--nodes", type=whole(1), default=1)
    p.add_argument("--gpus-per-node", type=whole(0), required=True, help="0: one process a node, on its CPUs")
    p.add_argument(
        "--rollout-nodes", type=whole(0), default=0, help="further nodes that serve the rollouts, a server a GPU"
    )
    p.add_argument("--time", default="24:00:00", help="limit of one attempt, as sbatch takes it")
    p.add_argument("--partition")
    p.add_argument("--account")
    p.add_argument("--qos")
    p.add_argument("--constraint")
    p.add_argument("--cpus-per-task", type=whole(1), help="CPUs of a node's one task, shared by its ranks")
    p.add_argument(
        "--sbatch",
        action="append",
        default=[],
        metavar="OPTION",
        help='any option of sbatch: "--gres=gpu:a100:4"; repeatable',
    )
    p.add_argument("--mem", help="memory a node, as sbatch takes it")
    p.add_argument("--job-name")
    p.add_argument(
        "--accelerate",
        type=place_option,
        help=f"one of {', '.join(ACCELERATE)}, or a file of your own (zero2; multi_gpu without GPUs)",
    )
    sweep.add_options(p)
    p.add_argument("--array-limit", type=whole(1), help="array tasks that run at once")
    p.add_argument("--venv", type=place_option, help="a virtual environment or conda prefix that the job activates")
    p.add_argument("--module", action="append", default=[], help="`module load` this; repeatable")
    p.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="exported in the job; repeatable")
    p.add_argument("--lead", type=whole(1), default=300, help="seconds before the limit that the job is told to save")
    p.add_argument("--requeues", type=whole(0), default=100, help="how often a job that saved in time goes on")
    p.add_argument("--eval", metavar="BENCHMARKS", help="evaluate on these in a job of its own, behind the training")
    p.add_argument("--eval-options", default="", help="further options of `tersely eval`, as one text")
    p.add_argument("--dry-run", action="store_true", help="print what would be written, and submit nothing")
    return p
