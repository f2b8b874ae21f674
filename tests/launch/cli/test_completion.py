"""The completion scripts; bash's is run by a real bash."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tersely.configs.load import list_methods
from tersely.core.errors import ConfigError
from tersely.launch.cli import completion
from tersely.launch.cli.main import COMMANDS, TESTBED


def completed(*words: str) -> list[str]:
    """What bash offers for a line that ends with the last word."""
    line = " ".join(f'"{word}"' for word in words)
    script = (
        f"{completion.script('bash')}\nCOMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _tersely\n"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_commands_and_second_words():
    assert completed("tersely", "") == list(COMMANDS)
    assert completed("tersely", "met") == ["methods"]
    assert completed("tersely", "testbed", "") == list(TESTBED)
    assert completed("tersely", "methods", "dr") == ["dr_grpo"]
    assert completed("tersely", "recipes", "smol") == ["smollm2-135m/alp_cpu"]
    assert completed("tersely", "launch", "") == ["local", "slurm"]
    assert completed("tersely", "train", "") == [], "files too are recipes, and bash completes those"


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_name_every_word(shell):
    script = completion.script(shell)
    for word in (*COMMANDS, *TESTBED, *list_methods()):
        assert word in script
    if shutil.which(shell):
        subprocess.run([shell, "-n", "/dev/stdin"], input=script, text=True, check=True, timeout=30)


def test_unknown_shell_is_an_error():
    with pytest.raises(ConfigError, match="'fish'"):
        completion.script("fisch")


def test_main_prints_the_script(capsys):
    assert completion.main(["bash"]) == 0
    assert capsys.readouterr().out.startswith("_tersely() {")
