"""`tersely completion bash|zsh|fish`: prints a completion script, generated from the command table."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from tersely.core.errors import require_choice
from tersely.launch.cli.parser import Parser

BASH = """\
_tersely() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" words=""
    case "$COMP_CWORD ${{COMP_WORDS[1]}}" in
        "1 "*) words="{commands}" ;;
{cases}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o bashdefault -o default -F _tersely tersely"""

ZSH = """\
#compdef tersely
_tersely() {{
    local -a commands=(
{commands}
    )
    if (( CURRENT == 2 )); then _describe command commands; return; fi
    case "$words[2]" in
{cases}
        *) _files ;;
    esac
}}
compdef _tersely tersely"""

INSTALL = {
    "bash": "source <(tersely completion bash)   # in ~/.bashrc",
    "zsh": "source <(tersely completion zsh)   # in ~/.zshrc, after compinit",
    "fish": "tersely completion fish > ~/.config/fish/completions/tersely.fish",
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(
        prog="tersely completion",
        description="Print a shell completion script.",
        epilog="\n".join(INSTALL.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", help=" | ".join(INSTALL))
    print(script(parser.parse_args(argv).shell))
    return 0


def script(shell: str) -> str:
    """The completion script of one shell: every command, and its second word where the choices are known."""
    from tersely.launch.cli.main import COMMANDS

    require_choice("shell", shell, tuple(INSTALL))
    seconds = second_words()
    if shell == "bash":
        cases = "\n".join(f'        "2 {name}") words="{" ".join(words)}" ;;' for name, words in seconds.items())
        return BASH.format(commands=" ".join(COMMANDS), cases=cases)
    if shell == "zsh":
        described = "\n".join(f"        '{name}:{text}'" for name, (_, text) in COMMANDS.items())
        cases = "\n".join(f"        {name}) compadd -- {' '.join(words)} ;;" for name, words in seconds.items())
        return ZSH.format(commands=described, cases=cases)
    lines = [
        f"complete -c tersely -n __fish_use_subcommand -f -a {name} -d '{text}'" for name, (_, text) in COMMANDS.items()
    ]
    lines += [
        f"complete -c tersely -n '__fish_seen_subcommand_from {name}' -f -a '{' '.join(words)}'"
        for name, words in seconds.items()
    ]
    return "\n".join(lines)


def second_words() -> dict[str, list[str]]:
    from tersely.configs.load import list_methods, list_recipes
    from tersely.launch.cli.listings import dataset_names
    from tersely.launch.cli.main import LAUNCH, TESTBED

    return {
        "launch": list(LAUNCH),
        "testbed": list(TESTBED),
        "methods": list_methods(),
        "recipes": list_recipes(),
        "datasets": dataset_names(),
        "completion": list(INSTALL),
    }
