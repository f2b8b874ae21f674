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


def outcome(folder: Path, ci: str, tests: str) -> tuple[int, str]:
    here = Path(__file__).parent
    shutil.copy(here / "conftest.py", folder)
    shutil.copytree(here / "support", folder / "support", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "test_some.py").write_text(tests)
    (folder / "pytest.ini").write_text("[pytest]\npythonpath = .\nmarkers =\n  vllm\n  deepspeed\n  browser\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)],
        env={**os.environ, "TERSELY_CI": ci},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("ci", "code", "closing"),
    [("0", 0, "1 passed, 3 skipped, 1 xfailed"), ("1", 1, "1 failed, 1 passed, 1 skipped, 1 xfailed, 1 error")],
)
def test_skips_of_engines(tmp_path, ci, code, closing):
    status, printed = outcome(tmp_path, ci, TESTS)
    assert (status, printed.splitlines()[-1].partition(" in ")[0]) == (code, closing)


@pytest.mark.parametrize(("ci", "code"), [("0", 5), ("1", 2)])
def test_skip_of_a_whole_file(tmp_path, ci, code):
    tests = "import pytest\npytest.importorskip('no_such_engine')\ndef test_it(): pass\n"
    status, printed = outcome(tmp_path, ci, tests)
    assert status == code
    assert ("must run" in printed) == (ci == "1")
