"""The command table: what it costs, where it leads, and what a user sees when something is wrong."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from tersely import __version__
from tersely.core.errors import ConfigError
from tersely.launch.cli import main as cli

HEAVY = (
    "torch",
    "transformers",
    "trl",
    "datasets",
    "accelerate",
    "numpy",
    "pandas",
    "sympy",
    "matplotlib",
    "rich",
    "yaml",
)


def python(*arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, **options)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"], ["testbed"], ["--version"], ["nonsense"]])
def test_help_and_typing_errors_import_nothing_heavy(arguments):
    done = python(
        "-c",
        f"import sys; from tersely.launch.cli.main import main; main({arguments!r}); "
        f"print(*sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)",
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == ""


@pytest.mark.parametrize("name", [name for name in cli.COMMANDS if name not in ("testbed", "completion")])
def test_help_of_each_command_needs_no_torch(name):
    target = cli.COMMANDS[name][0]
    done = python(
        "-c",
        "import sys\nfrom tersely.launch.cli.main import main\n"
        f"try: main([{name!r}, '--help'])\nexcept SystemExit as stop: assert not stop.code, stop.code\n"
        "assert 'torch' not in sys.modules, 'torch'",
    )
    assert done.returncode == 0, f"{target}: {done.stderr[-1500:]}"
    assert f"tersely {name}" in done.stdout


@pytest.mark.parametrize("table", [cli.COMMANDS, cli.TESTBED])
def test_every_command_leads_to_a_function(table):
    for target, text in table.values():
        module, _, function = target.partition(":")
        assert callable(getattr(import_module(module), function)), target
        assert text


def test_help_names_every_command(capsys):
    assert cli.main([]) == 0
    printed = capsys.readouterr().out
    for name, (_, text) in cli.COMMANDS.items():
        assert name in printed
        assert text in printed


def test_the_module_is_the_command():
    done = python("-m", "tersely", "--version")
    assert (done.returncode, done.stdout) == (0, f"{__version__}\n")


def test_unknown_command_names_the_nearest(capsys):
    assert cli.main(["tarin"]) == 2
    assert "'train'" in capsys.readouterr().err
    assert cli.main(["testbed", "mesure"]) == 2
    assert "'measure'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ConfigError("beta: got 3; expected below 1"), "beta: got 3; expected below 1"),
        (FileNotFoundError(2, "No such file", "no/such"), "no such file or folder: no/such; the folder "),
        (PermissionError("no"), "no"),
    ],
)
def test_an_error_of_the_user_is_one_line(error, line, capsys, monkeypatch):
    monkeypatch.delenv("TERSELY_DEBUG", raising=False)

    def command(_):
        raise error

    assert cli.run_command(command, []) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {line}") and printed.count("\n") == 1
    monkeypatch.setenv("TERSELY_DEBUG", "1")
    with pytest.raises(type(error)):
        cli.run_command(command, [])


def test_a_run_that_stops_itself_says_so_in_one_line(capsys):
    from tersely.engines.base import StaleEngineError

    def command(_):
        raise StaleEngineError("step 3: it holds the weights of step 1")

    assert cli.run_command(command, []) == 1
    assert capsys.readouterr().err == "error: step 3: it holds the weights of step 1\n"


def test_a_fault_of_ours_keeps_its_traceback():
    def command(_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cli.run_command(command, [])


def test_interrupt_is_130(capsys):
    def command(_):
        raise KeyboardInterrupt

    assert cli.run_command(command, []) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_status_none_is_success():
    assert cli.run_command(lambda _: None, []) == 0
    assert cli.run_command(lambda _: 3, []) == 3


def test_debug_keeps_the_traceback():
    plain = python("-m", "tersely", "methods", "nonsense")
    debug = python("-m", "tersely", "--debug", "methods", "nonsense")
    assert plain.returncode == 2
    assert plain.stderr.startswith("error: unknown method 'nonsense'")
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debug.stderr


def test_a_reader_that_leaves_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -c 'from tersely.launch.cli.main import run_command\n"
        "def lines(_):\n    for i in range(100000): print(i, flush=i % 100 == 0)\nraise SystemExit(run_command(lines, []))'"
        " | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "0\n"
    assert done.stderr == ""


def test_a_run_that_a_guard_stopped_has_a_status_of_its_own(capsys):
    from tersely.rl.errors import RunStopped, StoppedByGuard

    def ends(error):
        def command(_):
            raise error("it went wrong")

        return cli.run_command(command, [])

    assert (ends(StoppedByGuard), ends(RunStopped)) == (3, 1)
    assert capsys.readouterr().err == "error: it went wrong\n" * 2
