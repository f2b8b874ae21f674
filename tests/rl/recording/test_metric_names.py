"""Every logged name is in the list, and everything in the list is logged."""

from __future__ import annotations

import dataclasses
import inspect
import re
from functools import cache
from pathlib import Path

import pytest
import torch
import trl

import tersely
from tersely.algorithms import CONTROLLERS, LOSSES
from tersely.algorithms.loss_dependence import made_up_comparison
from tersely.core.build import build
from tersely.core.errors import ConfigError
from tersely.core.metric_names import METRICS, RATIOS, find
from tersely.core.types import TokenBatch
from tersely.eval.report.training_curves import CURVES
from tersely.rl.controllers import statistics_of
from tersely.rl.guards.base import Counting
from tersely.rl.guards.mismatch import over_ranks
from tersely.rl.guards.registry import GUARDS

NOT_A_METRIC = {"step"}
SEEN = {
    "always",
    "micro_batching",
    "step 2 on",
    "controllers",
    "last line",
    "where a pass is made",
    RATIOS,
    "loss hapo",
}
"""What the run of this file logs."""


def listed_as(logged):
    return {name for name, metric in METRICS.items() if metric.logged == logged}


def logged_by(trainer):
    return {name for row in trainer.state.log_history for name in row} - NOT_A_METRIC


def test_a_run_logs_what_is_listed_and_all_of_it(make_trainer):
    trainer = make_trainer(controllers=["entropy_target"], loss="hapo", micro_batching="always")
    trainer.train()
    found = {find(name).name for name in logged_by(trainer)}
    assert {name for name, metric in METRICS.items() if metric.logged in SEEN} == found


def random_batch():
    draw = torch.Generator().manual_seed(0)
    logp = -torch.rand(4, 16, generator=draw)
    old, reference = logp + 0.1 * torch.randn(4, 16, generator=draw), logp - 0.1
    entropy, advantage = torch.rand(4, 16, generator=draw), torch.randn(4, 1, generator=draw).expand(4, 16)
    return TokenBatch(logp, old, entropy, torch.ones(4, 16), advantage, reference, old, entropy)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_reports_what_is_listed_for_it(name):
    loss_fn, batch = build("loss", name), random_batch()
    _, found = loss_fn(dataclasses.replace(batch, compared=made_up_comparison(loss_fn, batch.logp)))
    own = {metric for metric in found if find(metric).logged != RATIOS}
    assert own == {metric.name for metric in METRICS.values() if re.search(rf"^loss\b.*\b{name}\b", metric.logged)}


def test_losses_with_a_ratio_and_the_mismatch():
    _, found = build("loss", "clip")(random_batch())
    assert set(found) == listed_as(RATIOS)
    assert {f"mismatch/{name}" for name in over_ranks([])} == {name for name in METRICS if name.startswith("mismatch/")}


@cache
def sources():
    """The texts in which a metric's name can stand: this package, and TRL's trainers."""
    ours = Path(tersely.__file__).parent.rglob("*.py")
    texts = [path.read_text() for path in ours if path.name not in ("metric_names.py", "training_curves.py")]
    return [*texts, *(inspect.getsource(inspect.getmodule(cls)) for cls in (trl.GRPOTrainer, trl.SFTTrainer))]


@pytest.mark.parametrize(
    "name",
    [
        n
        for n, m in METRICS.items()
        if m.logged not in SEEN and not m.logged.startswith("loss ") and "mismatch/" not in n
    ],
)
def test_what_no_run_here_logs_stands_in_the_code(name):
    kind, _, last = re.sub(r"<\w+>", "", name).rpartition("/")
    wanted = (f'"{name}"', f'"{kind}/{last}{{')
    made = f'"{kind}/{{'
    assert any(any(one in text for one in wanted) or (made in text and last in text) for text in sources())


@pytest.mark.parametrize("name", [name for _, names in CURVES for name in names])
def test_a_curve_reads_a_listed_metric(name):
    assert find(name).name == name


@pytest.mark.parametrize("name", [name for name, cls in GUARDS.items() if issubclass(cls, Counting)])
def test_a_guard_reads_listed_metrics(name):
    assert all(find(metric).name == metric for metric in GUARDS[name].statistics)


@pytest.mark.parametrize("name", CONTROLLERS)
def test_a_controller_reads_listed_metrics(name):
    assert all(find(metric).name == metric for metric in statistics_of(build("controller", name)))


def test_a_name_that_is_not_listed_is_an_error_with_the_nearest():
    with pytest.raises(ConfigError, match="'efficiency/tokens_mean'"):
        find("efficiency/token_mean")
    assert find("rewards/my:Term/mean").name == "rewards/<term>/mean"
