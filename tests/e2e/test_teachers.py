"""A loss over the whole vocabulary is the same on one rank, on two, and with sharded weights."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest

pytestmark = pytest.mark.e2e

CHANGES = {
    "loss": {"name": "opsdc", "instruction": "Please answer within 8 tokens", "update_steps": 2},
    "reward": "correctness",
    "advantage": "identity",
    "aggregate": "sequence",
    "max_completion_length": 32,
    "micro_batch": 4,
    "max_steps": 3,
    "save_steps": 3,
    "timeout": 420,
}


@pytest.fixture(scope="module")
def one(shared_launcher):
    done = shared_launcher.run("one", **CHANGES)
    assert done.returncode == 0, done.stderr[-3000:]
    return shared_launcher


def test_two_ranks_train_as_one(one):
    check(one, "two", ())


@pytest.mark.deepspeed
@pytest.mark.parametrize("stage", [pytest.param("zero2", marks=pytest.mark.exhaustive), "zero3"])
def test_sharded_weights(one, stage):
    pytest.importorskip("deepspeed", reason="DeepSpeed is not installed: pip install 'tersely[deepspeed]'")
    config = str(files("tersely.configs") / "accelerate" / f"{stage}.yaml")
    check(one, stage, ("--config_file", config, "--mixed_precision", "no"))


def check(launcher, name, accelerate):
    """The third step has a teacher with the weights of the second."""
    done = launcher.run(name, processes=2, accelerate=accelerate, **CHANGES)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    first = [run.text[run.step == 1].tolist() for run in map(launcher.completions, ("one", name))]
    assert first[0] == first[1]
    for metric in ("loss", "opsdc/kl", "opsdc/teacher_entropy"):
        values = [launcher.logged(run, metric) for run in ("one", name)]
        assert len(values[0]) == 3 and min(values[0]) > 0, metric
        np.testing.assert_allclose(*values, rtol=5e-3, err_msg=metric)
