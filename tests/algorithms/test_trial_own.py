"""Components from outside the package: what they raise or return is checked on made-up input, before a run."""

from __future__ import annotations

import pytest

from tersely.algorithms.objective import Objective
from tersely.algorithms.trial import trial_score
from tersely.core.errors import ConfigError
from tersely.core.types import RolloutPlan


def component(call):
    return type("Own", (), {"__call__": call, "includes_outcome": True})


def leaves():
    raise SystemExit(3)


CALLS = {
    "reward": {
        "fits": lambda self, r: r.correct - 0.01 * r.length,
        "raises": lambda self, r: r.nosuch,
        "exits": lambda self, r: leaves(),
        "in place": lambda self, r: r.correct.zero_() + r.length,
    },
    "prompting": {
        "fits": lambda self, ids, size, memory, seed: [RolloutPlan()] * (len(ids) * size),
        "raises": lambda self, ids: [],
        "exits": lambda self, ids, size, memory, seed: leaves(),
        "another kind": lambda self, ids, size, memory, seed: None,
        "another kind inside": lambda self, ids, size, memory, seed: [{}] * (len(ids) * size),
        "too few": lambda self, ids, size, memory, seed: [RolloutPlan()] * len(ids),
    },
    "advantage": {
        "fits": lambda self, x, r: x - x.mean(),
        "fits per token": lambda self, x, r: (x - x.mean()).unsqueeze(1).expand(-1, 5),
        "raises": lambda self, x: x,
        "exits": lambda self, x, r: leaves(),
        "too few": lambda self, x, r: x[:2],
        "nan": lambda self, x, r: x / 0 * 0,
        "whole numbers": lambda self, x, r: x.long(),
        "a list": lambda self, x, r: x.tolist(),
    },
    "filter": {
        "fits": lambda self, r: r.grouped(r.correct).mean(1) < 1,
        "raises": lambda self, r: r.correct[999],
        "exits": lambda self, r: leaves(),
        "one per rollout": lambda self, r: r.correct > 0,
        "numbers": lambda self, r: r.grouped(r.correct).mean(1),
    },
    "loss": {
        "fits": lambda self, b: (-b.advantage * b.logp, {}),
        "raises": lambda self, b: b.correct,
        "exits": lambda self, b: leaves(),
        "a sum": lambda self, b: ((-b.advantage * b.logp).sum(), {}),
        "no metrics": lambda self, b: -b.logp,
        "no gradient": lambda self, b: (-b.logp.detach(), {}),
        "one per row": lambda self, b: (-b.logp.sum(1), {}),
    },
}
FITS = [(slot, case) for slot, calls in CALLS.items() for case in calls if case.startswith("fits")]
FAULTS = [(slot, case) for slot, calls in CALLS.items() for case in calls if not case.startswith("fits")]


def trial(slot, case, monkeypatch):
    monkeypatch.setitem(globals(), "Own", component(CALLS[slot][case]))
    trial_score(Objective.from_specs({slot: f"{__name__}:Own"}), 4, 64)


@pytest.mark.parametrize(("slot", "case"), FITS)
def test_what_fits_passes(slot, case, monkeypatch):
    trial(slot, case, monkeypatch)


@pytest.mark.parametrize(("slot", "case"), FAULTS)
def test_what_does_not_is_one_line_that_names_the_component(slot, case, monkeypatch):
    with pytest.raises(ConfigError) as error:
        trial(slot, case, monkeypatch)
    text = str(error.value)
    assert text.startswith(slot) and "Own" in text and "\n" not in text
    assert ("test_trial_own.py, line" in text or "trial_own.py, line" in text) == (case in ("raises", "exits"))


def test_a_loss_inside_a_wrapper_is_tried_too(monkeypatch):
    monkeypatch.setitem(globals(), "Own", component(CALLS["loss"]["no gradient"]))
    wrapped = {"name": "kl_penalty", "beta": 0.1, "base": f"{__name__}:Own"}
    with pytest.raises(ConfigError, match="loss Own returned"):
        trial_score(Objective.from_specs({"loss": wrapped}), 4, 64)


def test_a_module_that_exits_or_raises_is_one_line(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    for number, code in enumerate(("raise SystemExit('bye')", "1 / 0", "def (", "import nosuchmodule")):
        (tmp_path / f"own_module_{number}.py").write_text(code)
        with pytest.raises(ConfigError, match="reward: .*own"):
            Objective.from_specs({"reward": f"own_module_{number}:Own"})
    with pytest.raises(ConfigError, match="reward: .*own"):
        Objective.from_specs({"reward": "./own.py"})
