"""A run that goes back to a checkpoint does it alike on one rank, on two, and under DeepSpeed."""

from __future__ import annotations

import json
from importlib.resources import files

import numpy as np
import pytest

pytestmark = pytest.mark.e2e

CONTROLLER = '''
from dataclasses import dataclass, field


@dataclass
class AlarmAt:
    """Content with the first two steps, alarmed at step 5."""

    statistic = "verify/accuracy"
    seen: int = field(default=0, init=False)
    value: float = field(default=0.0, init=False)
    alarm: str | None = field(default=None, init=False)

    @property
    def good(self):
        return self.seen <= 2

    def update(self, accuracy):
        self.seen += 1
        self.alarm = "accuracy fell while length fell" if self.seen == 5 else None
        return self.value

    def rolled_back(self, before):
        self.seen = 100 + before["seen"]

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]
'''
STEPS = {"controllers": [{"name": "alarm_at:AlarmAt"}], "max_steps": 8, "save_steps": 2, "save_total_limit": 9}


def accelerate_file(name: str) -> tuple[str, ...]:
    return ("--config_file", str(files("tersely.configs") / "accelerate" / f"{name}.yaml"), "--mixed_precision", "no")


@pytest.fixture(scope="module")
def one(shared_launcher):
    (shared_launcher.folder / "alarm_at.py").write_text(CONTROLLER)
    done = shared_launcher.run("one", **STEPS)
    assert done.returncode == 0, done.stderr[-3000:]
    return shared_launcher


def events(launcher, name: str) -> list[dict]:
    lines = (launcher.folder / name / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if "event" in row]


def test_one_rank_says_where_it_went_and_ends(one):
    (event,) = events(one, "one")
    assert (event["step"], event["to_step"], event["rollbacks"]) == (5, 2, 1)
    assert event["reason"].endswith("accuracy fell while length fell")
    assert len(one.losses("one")) == 8 and (one.folder / "one" / "final" / "model.safetensors").exists()


@pytest.mark.parametrize(
    "name",
    [
        "ranks",
        pytest.param("zero2", marks=[pytest.mark.deepspeed, pytest.mark.exhaustive]),
        pytest.param("zero3", marks=pytest.mark.deepspeed),
    ],
)
def test_two_ranks_do_as_one(one, name):
    options = {}
    if name != "ranks":
        pytest.importorskip("deepspeed", reason="DeepSpeed is not installed: pip install 'tersely[deepspeed]'")
        options = {"accelerate": accelerate_file(name)}
    done = one.run(name, processes=2, micro_batch=4, timeout=420, **options, **STEPS)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert one.ranks(name) == 2
    assert events(one, name) == events(one, "one")
    expected, found = one.completions("one"), one.completions(name)
    for step in (1, 6):  # before any update, and on what was restored
        alone, together = expected[expected.step == step], found[found.step == step]
        assert alone.prompt_id.tolist() == together.prompt_id.tolist()
        assert (alone.text.to_numpy() == together.text.to_numpy()).mean() > 0.8
    np.testing.assert_allclose(one.losses("one"), one.losses(name), atol=0.02 if name == "zero3" else 2e-3)
