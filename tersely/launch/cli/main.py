"""`tersely <command>`: the table of commands. A command is imported when it is called, so `--help` is fast."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module

Table = Mapping[str, tuple[str, str]]
"""Command -> (`module:function` that takes the arguments and returns an exit status, one line of help)."""

COMMANDS: Table = {
    "quickstart": ("tersely.launch.cli.quickstart:main", "the main job on the embedded model, report included"),
    "doctor": (
        "tersely.launch.cli.doctor:main",
        "the installation and the machine, a line a finding with its mend",
    ),
    "preflight": (
        "tersely.launch.cli.preflight:main",
        "check a recipe and draw a few real rollouts before it is paid for",
    ),
    "train": ("tersely.launch.cli.train:main", "train a recipe"),
    "launch": (
        "tersely.launch.cli.main:launch",
        "train on this machine with logs, shutdown and restarts: local | slurm",
    ),
    "serve": ("tersely.launch.cli.serve:main", "a vLLM server for the rollouts of a recipe"),
    "eval": ("tersely.launch.cli.eval:main", "evaluate a model on benchmarks"),
    "fit": ("tersely.launch.cli.fit:main", "the vector of seal or the probe of diff_adapt, from an evaluated run"),
    "report": ("tersely.launch.cli.report:main", "report.html, report.md and report.json of evaluated runs"),
    "compare": ("tersely.launch.cli.compare:main", "two runs on the same problems: the table and the verdict"),
    "interop": (
        "tersely.launch.cli.interop:main",
        "per-sample files of lm-evaluation-harness and lighteval, in and out",
    ),
    "verify": ("tersely.launch.cli.verify:main", "verdicts on a JSONL file of answers"),
    "methods": ("tersely.launch.cli.methods:main", "the shipped methods, or the card of one"),
    "recipes": ("tersely.launch.cli.listings:recipes", "the shipped recipes, or the file of one"),
    "datasets": ("tersely.launch.cli.listings:datasets", "the ready-made data sets, or the file of one"),
    "testbed": ("tersely.launch.cli.main:testbed", "the embedded model: make | measure | fetch-smollm2"),
    "completion": ("tersely.launch.cli.completion:main", "shell completion: bash | zsh | fish"),
}
LAUNCH: Table = {
    "local": ("tersely.launch.cli.launch_local:main", "on this machine's GPUs or CPU"),
    "slurm": (
        "tersely.launch.cli.launch_slurm:main",
        "a batch job on a SLURM cluster: rendered, submitted, requeued, resumed",
    ),
}
TESTBED: Table = {
    "make": ("tersely.launch.cli.testbed_make:main", "make the embedded model's weights from nothing"),
    "measure": ("tersely.launch.cli.testbed_measure:main", "measure its properties"),
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
    """Run the command that the first argument names with the others; without one, print the usage."""
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

        print(f"{program}: there is no command {name!r}; {nearest(name, commands)}", file=sys.stderr)
        return 2
    module, _, function = commands[name][0].partition(":")
    return run_command(lambda given: getattr(import_module(module), function)(given), rest)


def run_command(command: Callable[[Sequence[str]], int | None], arguments: Sequence[str]) -> int:
    """Errors that a user can mend are one line; others keep their traceback, and so do all under TERSELY_DEBUG.

    Exit status: 2 for what could not be meant (`ConfigError`, a missing file), 1 for a run that stopped itself, 3 where a guard
    stopped it, 130 for an interrupt.
    """
    from tersely.core.errors import ConfigError

    try:
        return command(arguments) or 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # the reader has gone (`| head`); what is still buffered must not raise again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        # the exceptions that this package defines are written for its users
        meant = isinstance(error, FILE_ERRORS) or type(error).__module__.startswith("tersely.")
        if not meant or os.environ.get("TERSELY_DEBUG"):
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
    return f"usage: {program} <command> [options]\n\n{lines}{options}\n\n{program} <command> --help says more."


if __name__ == "__main__":
    sys.exit(main())
