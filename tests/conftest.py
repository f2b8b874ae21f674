"""What all tests share: the optional real data, one thread, and no silent skip of an engine where all must run."""

from __future__ import annotations

import functools
import gc
import importlib.metadata
import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")  # it would bind every engine to the same core

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=10)
settings.register_profile("all", derandomize=True, deadline=None, max_examples=100)  # make test-all
settings.load_profile("ci")

# accelerate looks for packages several times a step, and parses their metadata each time
importlib.metadata.metadata = functools.cache(importlib.metadata.metadata)

pytest_plugins = ["support.tiny", "support.runs", "support.rollouts", "support.served", "support.warm"]

ENGINES = ("vllm", "deepspeed", "browser", "slurm")
"""Marks of tests that may skip on a user's machine, and must run where TERSELY_CI=1."""
ROOT = Path(__file__).parents[1]


LONGEST = ("slurm", "vllm", "e2e", "slow")
"""Marks of what two workers start with, so that they end together."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Under pytest-xdist a file stays on one worker with its fixtures; vLLM's engines and servers share one worker."""
    if not hasattr(config, "workerinput"):
        return

    def rank(item) -> int:
        return next((i for i, name in enumerate(LONGEST) if item.get_closest_marker(name)), len(LONGEST))

    def group(item) -> str:
        alone = item.get_closest_marker("vllm") and not item.get_closest_marker("e2e")
        return "vllm" if alone else item.location[0]

    ranks: dict[str, int] = {}
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))
        ranks[group(item)] = min(rank(item), ranks.get(group(item), len(LONGEST)))
    items.sort(key=lambda item: ranks[group(item)])


def pytest_collection_finish(session):
    """Each training ends in a whole garbage collection: it passes over what was imported until now."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real benchmark items and labelled verifier cases, where somebody has put them."""
    folder = Path(os.environ.get("TERSELY_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; set TERSELY_SHARED to the folder that holds data/")
    return folder


@pytest.fixture(autouse=True)
def signal_mask():
    """A training blocks SIGUSR1 in its process; the processes that a later test starts would inherit that."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, set())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.fixture(autouse=True)
def verifier_on_demand(request, monkeypatch):
    """A run does not start the verifier's processes, which cost four seconds; they start when an answer needs them."""
    if "rewards" not in request.node.path.parts:
        monkeypatch.setattr("tersely.rewards.verify.verifier.Verifier.start", lambda self: None)


@pytest.fixture(autouse=True)
def registered_components():
    """What a test registers as a component is gone after it."""
    yield
    build = sys.modules.get("tersely.core.build")
    for names in build._OF_THIS_PROCESS.values() if build else ():
        names.clear()


def all_must_run() -> bool:
    return os.environ.get("TERSELY_CI") == "1"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    marked = [name for name in ENGINES if item.get_closest_marker(name)]
    if report.skipped and marked and all_must_run() and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, but {marked[0]} must run here: {call.excinfo.value if call.excinfo else ''}"


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector):
    report = (yield).get_result()
    if report.skipped and all_must_run():
        # a whole file that skips never shows its marks
        report.outcome = "failed"
        report.longrepr = f"skipped at import, where all must run: {report.longrepr}"


@pytest.fixture(scope="session")
def rollouts_of():
    """`rollouts_of(correct=[...], **fields) -> Rollouts`: one group unless `group_size` says otherwise."""

    def make(correct, *, group_size=None, length=None, truncated=None, max_length=64, **fields):
        import torch

        from tersely.core.types import Rollouts

        size = group_size or len(correct)
        return Rollouts(
            group_size=size,
            prompt_id=[f"p{i // size}" for i in range(len(correct))],
            correct=torch.tensor(correct, dtype=torch.float32),
            length=torch.tensor(length or [10] * len(correct)),
            truncated=torch.tensor(truncated or [False] * len(correct)),
            max_length=max_length,
            **fields,
        )

    return make
