"""What all tests share: the optional real data, one thread, and no silent skip of an engine where all must run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

settings.register_profile("tersely", derandomize=True, deadline=None)
settings.load_profile("tersely")

ENGINES = ("vllm", "deepspeed", "browser", "slurm")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real benchmark items and labelled verifier cases, where somebody has put them."""
    folder = Path(os.environ.get("TERSELY_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; set TERSELY_SHARED to the folder that holds data/")
    return folder


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    marked = [name for name in ENGINES if item.get_closest_marker(name)]
    if report.skipped and marked and os.environ.get("TERSELY_CI") == "1" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, but {marked[0]} must run here: {call.excinfo.value if call.excinfo else ''}"
