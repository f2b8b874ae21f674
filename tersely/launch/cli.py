"""`tersely <command>`: a table of commands, each imported when it is called. `--help` costs no heavy import."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

COMMANDS: dict[str, tuple[str, str]] = {
    "quickstart": ("tersely.launch.quickstart:main", "the main job on the embedded model, report included"),
    "train": ("tersely.launch.train:main", "train a recipe"),
    "eval": ("tersely.eval.generate:main", "evaluate a model on benchmarks"),
    "report": ("tersely.eval.report:main", "report.html, report.md and report.json of evaluated runs"),
    "compare": ("tersely.eval.compare:main", "two runs: the verdict sentence and the table"),
    "verify": ("tersely.rewards.verify.command:main", "verdicts on a JSONL file of answers"),
    "methods": ("tersely.launch.methods:main", "the shipped methods, or the card of one"),
    "testbed": ("tersely.launch.cli:testbed", "make | measure | fetch-smollm2"),
    "completion": ("tersely.launch.cli:completion", "shell completion: bash | zsh | fish"),
}
TESTBED: dict[str, tuple[str, str]] = {
    "make": ("tersely.testbed.make:main", "make the embedded model's weights from nothing"),
    "measure": ("tersely.testbed.measure:main", "measure its properties"),
    "fetch-smollm2": ("tersely.testbed.smollm2:main", "fetch and convert SmolLM2-135M-Instruct"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Dispatch to a command; returns the exit status."""
    return dispatch("tersely", COMMANDS, list(sys.argv[1:] if argv is None else argv))


def dispatch(program: str, commands: dict[str, tuple[str, str]], arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage(program, commands))
        return 0
    if arguments[0] == "--version":
        from tersely import __version__

        print(__version__)
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in commands:
        from tersely.checks import nearest

        print(f"{program}: there is no command {name!r}; {nearest(name, commands)}", file=sys.stderr)
        return 2
    module, _, function = commands[name][0].partition(":")
    return run_command(lambda given: getattr(import_module(module), function)(given), rest)


def run_command(command: Callable[[Sequence[str]], int | None], arguments: Sequence[str]) -> int:
    """Errors that a user can mend are one line; others keep their traceback, and so do all under TERSELY_DEBUG."""
    from tersely.checks import SpecError

    try:
        return command(arguments) or 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1
    except (SpecError, FileNotFoundError) as error:
        if os.environ.get("TERSELY_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2


def usage(program: str, commands: dict[str, tuple[str, str]]) -> str:
    width = max(map(len, commands))
    lines = "\n".join(f"  {name:<{width}}  {text}" for name, (_, text) in commands.items())
    return f"usage: {program} <command> [options]\n\n{lines}\n\n{program} <command> --help says more."


def testbed(arguments: Sequence[str]) -> int:
    return dispatch("tersely testbed", TESTBED, list(arguments))


def completion(arguments: Sequence[str]) -> int:
    """Print the completion script of a shell; load it with `source <(tersely completion bash)`."""
    from tersely.checks import SpecError, nearest

    names, parts = " ".join(COMMANDS), " ".join(TESTBED)
    scripts = {
        "bash": f'_tersely() {{ local w="{names}"; [ "${{COMP_WORDS[1]}}" = testbed ] && w="{parts}"\n'
        '  [ "$COMP_CWORD" -le 2 ] && COMPREPLY=($(compgen -W "$w" -- "${COMP_WORDS[COMP_CWORD]}")); }\n'
        "complete -o default -F _tersely tersely",
        "zsh": f"#compdef tersely\n_arguments '1:command:({names})' '*:file:_files'",
        "fish": f"complete -c tersely -n __fish_use_subcommand -a '{names}'\n"
        f"complete -c tersely -n '__fish_seen_subcommand_from testbed' -a '{parts}'",
    }
    shell = arguments[0] if arguments else "bash"
    if shell not in scripts:
        raise SpecError(f"no completion for {shell!r}; {nearest(shell, scripts)}")
    print(scripts[shell])
    return 0
