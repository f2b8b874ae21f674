"""A skip of an engine's test is a skip on a user's machine, and a failure where everything must run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

@pytest.mark.vllm
def test_skips():
    pytest.skip("no engine")

@pytest.mark.deepspeed
@pytest.mark.skipif(True, reason="no engine")
def test_skips_by_mark():
    pass

@pytest.mark.browser
@pytest.mark.xfail(reason="known")
def test_known_failure():
    assert False

def test_skips_for_want_of_data():
    pytest.skip("no data")

def test_passes():
    pass
"""


WHOLE_FILE = "import pytest\npytest.importorskip('no_such_engine')\ndef test_it(): pass\n"


@pytest.mark.parametrize(
    ("ci", "code", "closing"),
    [("0", 0, "1 passed, 4 skipped, 1 xfailed"), ("1", 1, "1 failed, 1 passed, 1 skipped, 1 xfailed, 2 errors")],
)
def test_skips_of_engines_and_of_a_whole_file(tmp_path, ci, code, closing):
    here = Path(__file__).parent
    shutil.copy(here / "conftest.py", tmp_path)
    shutil.copytree(here / "support", tmp_path / "support", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "test_whole.py").write_text(WHOLE_FILE)
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\nmarkers =\n  vllm\n  deepspeed\n  browser\n")
    done = subprocess.run(
        [
            # -rN: no summary, whose lines are cut to the terminal's width or not, depending on the machine
            *(sys.executable, "-m", "pytest", "-q", "-rN", "-p", "no:cacheprovider"),
            "--continue-on-collection-errors",
            str(tmp_path),
        ],
        env={**os.environ, "TERSELY_CI": ci},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout.splitlines()[-1].partition(" in ")[0]) == (code, closing), done.stdout
    assert done.stdout.count("must run") == (3 if ci == "1" else 0)
