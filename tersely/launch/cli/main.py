"""`tersely <command>`: the table of commands. A command is imported when it is called, so `--help` is fast."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module

Table = Mapping[str, tuple[str, str]]
"""Command -> (`module:function` that takes the arguments and returns an exit status, one-line help)."""

COMMANDS: Table = {
    "quickstart": (
        "tersely.launch.cli.quickstart:main",
        "evaluate, train and report on the embedded model, in minutes on a CPU",
    ),
    "doctor": (
        "tersely.launch.cli.doctor:main",
        "check the installation and the hardware, and suggest fixes",
    ),
    "preflight": (
        "tersely.launch.cli.preflight:main",
        "check a recipe and sample a few rollouts before you spend GPU hours",
    ),
    "train": ("tersely.launch.cli.train:main", "train a recipe"),
    "launch": (
        "tersely.launch.cli.main:launch",
        "start a training with logs, clean shutdown and restarts: local | slurm",
    ),
    "serve": ("tersely.launch.cli.serve:main", "run a vLLM server for the rollouts of a recipe"),
    "eval": ("tersely.launch.cli.eval:main", "evaluate a model on benchmarks"),
    "merge": ("tersely.launch.cli.merge:main", "write an adapter and its base model as one plain model"),
    "rollouts": (
        "tersely.launch.cli.rollouts:main",
        "sample a model on a dataset and keep the correct answers for a cold start",
    ),
    "fit": ("tersely.launch.cli.fit:main", "fit the vector of seal or the probe of diff_adapt from an evaluated run"),
    "report": ("tersely.launch.cli.report:main", "write report.html, report.md and report.json for evaluated runs"),
    "analyze": (
        "tersely.launch.cli.analyze:main",
        "find redundancy, reflection and loops in a run's traces, and export the correct ones",
    ),
    "compare": ("tersely.launch.cli.compare:main", "compare two runs on the same problems"),
    "interop": (
        "tersely.launch.cli.interop:main",
        "convert per-sample files of lm-evaluation-harness and lighteval",
    ),
    "verify": ("tersely.launch.cli.verify:main", "verify the answers in a file"),
    "methods": ("tersely.launch.cli.methods:main", "list the shipped methods, or print the card of one"),
    "recipes": ("tersely.launch.cli.listings:recipes", "list the shipped recipes, or print one"),
    "datasets": ("tersely.launch.cli.listings:datasets", "list the shipped datasets, or print one"),
    "testbed": (
        "tersely.launch.cli.main:testbed",
        "embedded model: make | measure | traces | fetch-smollm2",
    ),
    "completion": ("tersely.launch.cli.completion:main", "print a shell completion script: bash | zsh | fish"),
}
LAUNCH: Table = {
    "local": ("tersely.launch.cli.launch_local:main", "train on this machine's GPUs or CPU"),
    "slurm": (
        "tersely.launch.cli.launch_slurm:main",
        "render and submit a SLURM job; it requeues and resumes itself",
    ),
}
TESTBED: Table = {
    "make": ("tersely.launch.cli.testbed_make:main", "train the embedded model from scratch: cold start, then GRPO"),
    "measure": ("tersely.launch.cli.testbed_measure:main", "measure whether thinking pays for the embedded model"),
    "traces": ("tersely.launch.cli.testbed_traces:main", "write solutions of the testbed's problems for a cold start"),
    "fetch-smollm2": ("tersely.launch.cli.testbed_smollm2:main", "fetch and convert SmolLM2-135M-Instruct"),
}

FILE_ERRORS = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError)


def main(argv: Sequence[str] | None = None) -> int:
    """Dispatch to a command; returns the exit status. `--debug` before the command keeps tracebacks."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["--debug"]:
        os.environ["TERSELY_DEBUG"] = "1"
        del arguments[0]
    return dispatch("tersely", COMMANDS, arguments)


def testbed(arguments: Sequence[str]) -> int:
    return dispatch("tersely testbed", TESTBED, list(arguments))


def launch(arguments: Sequence[str]) -> int:
    return dispatch("tersely launch", LAUNCH, list(arguments))


def dispatch(program: str, commands: Table, arguments: list[str]) -> int:
    """Run the command that the first argument names; without arguments, print the usage."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage(program, commands))
        return 0
    if arguments[0] == "--version":
        from tersely import __version__

        print(__version__)
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in commands:
        from tersely.core.errors import nearest

        print(f"{program}: error: invalid command {name!r}; {nearest(name, commands)}", file=sys.stderr)
        return 2
    module, _, function = commands[name][0].partition(":")
    return run_command(lambda given: getattr(import_module(module), function)(given), rest)


def run_command(command: Callable[[Sequence[str]], int | None], arguments: Sequence[str]) -> int:
    """Print errors that a user can fix as one line; others, and all under TERSELY_DEBUG, keep their traceback.

    Exit status: 2 for an invalid configuration (`ConfigError`, a missing file), 1 for a run that stopped itself, 3 if a
    guard stopped it, 130 for an interrupt.
    """
    from tersely.core.errors import ConfigError

    try:
        return command(arguments) or 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # the reader closed the pipe (`| head`); buffered output must not raise again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        # this package's exceptions have messages for users
        for_users = isinstance(error, FILE_ERRORS) or type(error).__module__.startswith("tersely.")
        if not for_users or os.environ.get("TERSELY_DEBUG"):
            raise
        from tersely.core.paths import fault_of
        from tersely.launch.clean_exit import repeat_last

        line = f"error: {fault_of(error) if isinstance(error, OSError) else error}"
        print(line, file=sys.stderr)
        repeat_last(line)
        return 2 if isinstance(error, (ConfigError, *FILE_ERRORS)) else getattr(error, "exit_code", 1)


def usage(program: str, commands: Table) -> str:
    width = max(map(len, commands))
    lines = "\n".join(f"  {name:<{width}}  {text}" for name, (_, text) in commands.items())
    options = "" if " " in program else "\n\n  --version   print the version\n  --debug     keep tracebacks of errors"
    return f"usage: {program} <command> [options]\n\n{lines}{options}\n\nSee {program} <command> --help."


if __name__ == "__main__":
    sys.exit(main())
