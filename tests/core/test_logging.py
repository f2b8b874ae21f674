"""Messages of the library on standard output, and how a user silences or redirects them."""

import logging
import subprocess
import sys

import pytest

from tersely.core.findings import Finding
from tersely.core.logging import get_logger, log_finding, log_line


@pytest.fixture
def root():
    root = logging.getLogger("tersely")
    level, handlers = root.level, list(root.handlers)
    yield root
    root.setLevel(level)
    root.handlers[:] = handlers


def test_a_message_is_one_line_as_it_is(capsys):
    text = "step 3/10  [bold]not markup[/bold]  100 % " + "long " * 60
    get_logger("tersely.rl.run").info(text)
    log_finding(Finding("warn", "top_p", "got 0.9", "use 1"))
    log_finding(Finding("note", "ranks", "was 2"))
    assert capsys.readouterr().out == f"{text}\nwarning: top_p: got 0.9; use 1\nnote: ranks: was 2\n"


def test_progress_is_silenced_by_the_level_and_warnings_stay(capsys, root):
    root.setLevel("WARNING")
    log_line("step 1/10")
    log_finding(Finding("warn", "ranks", "two"))
    assert capsys.readouterr().out == "warning: ranks: two\n"


def test_messages_go_to_a_handler_of_ones_own(capsys, root):
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    root.handlers[:] = [handler]
    get_logger("tersely.rl.guards.mismatch").warning("gap")
    assert [(r.name, r.levelname, r.getMessage()) for r in records] == [
        ("tersely.rl.guards.mismatch", "WARNING", "gap")
    ]
    assert capsys.readouterr().out == ""


def test_a_level_that_was_set_before_the_import_stays():
    code = (
        "import logging; logging.getLogger('tersely').setLevel('ERROR')\n"
        "from tersely.core.logging import get_logger; get_logger('tersely').info('step 1'); "
        "get_logger('tersely').warning('x')"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout == ""
