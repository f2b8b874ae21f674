"""OPSDC and AlignDistil on distributions over three tokens, computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from tersely.algorithms.checks import ignores_advantage, warnings_of
from tersely.algorithms.loss_dependence import depends_on_cut, silent_without_advantage
from tersely.algorithms.objective import Objective
from tersely.core.build import build
from tersely.core.errors import ConfigError
from tersely.core.types import TokenBatch

STUDENT, TEACHER, CONTRAST = (0.5, 0.25, 0.25), (0.25, 0.5, 0.25), (0.25, 0.25, 0.5)


def rows(*probabilities):
    return torch.tensor(probabilities, dtype=torch.float64).log()


def batch_of(compared, mask):
    zeros = torch.zeros(mask.shape, dtype=torch.float64)
    return TokenBatch(zeros, zeros, zeros, mask, zeros, compared=compared)


def test_opsdc_is_the_reverse_kl():
    student = rows(STUDENT, STUDENT).requires_grad_()
    compared = build("loss", "opsdc").compare(student, rows(TEACHER, STUDENT))
    # 0.5 log(0.5 / 0.25) + 0.25 log(0.25 / 0.5); the forward KL of these two would be the same, that of the next row not
    assert compared["kl"].tolist() == pytest.approx([0.25 * math.log(2), 0.0])
    assert build("loss", "opsdc").compare(rows(STUDENT), rows((0.8, 0.1, 0.1)))["kl"].item() == pytest.approx(
        0.5 * math.log(0.5 / 0.8) + 0.5 * math.log(0.25 / 0.1)
    )
    assert compared["teacher_entropy"][0].item() == pytest.approx(1.5 * math.log(2))


def test_a_token_that_neither_can_sample_adds_nothing():
    student = torch.tensor([[math.log(0.5), math.log(0.5), -math.inf]], requires_grad=True)
    for teachers in ((student.detach(),), (torch.tensor([[math.log(0.25), math.log(0.75), -math.inf]]),)):
        kl = build("loss", "opsdc").compare(student, *teachers)["kl"]
        assert kl.isfinite().all() and torch.autograd.grad(kl.sum(), student)[0].isfinite().all()
    one = torch.tensor([[math.log(0.25), math.log(0.75), -math.inf]])
    assert build("loss", "aligndistil").compare(student, one, student.detach())["loss"].isfinite().all()


def test_aligndistil_of_the_printed_formula():
    compared = build("loss", "aligndistil").compare(
        rows(STUDENT, STUDENT), rows(TEACHER, TEACHER), rows(CONTRAST, TEACHER)
    )
    weight = 15 * 0.5 + 1e-3
    target = torch.tensor(TEACHER, dtype=torch.float64) * (
        torch.tensor(TEACHER, dtype=torch.float64) / torch.tensor(CONTRAST, dtype=torch.float64)
    ).pow(weight)
    target = target / target.sum()
    student = torch.tensor(STUDENT, dtype=torch.float64)
    kl = (student * (student / target).log()).sum().item()
    assert compared["weight"].tolist() == pytest.approx([weight, 1e-3])
    assert compared["kl"].tolist() == pytest.approx([kl, 0.25 * math.log(2)])
    assert compared["loss"].tolist() == pytest.approx([0.1 / weight * kl, 100 * 0.25 * math.log(2)])


@pytest.mark.parametrize("name", ["opsdc", "aligndistil"])
def test_padding_has_no_loss_and_no_gradient(name):
    loss_fn, mask = build("loss", name), torch.tensor([[1, 0]])
    student = rows(STUDENT, STUDENT).requires_grad_()
    compared = loss_fn.compare(student, *[rows(TEACHER, TEACHER)] * len(loss_fn.teachers))
    compared = {key: torch.where(mask.bool(), value.view(1, 2), torch.nan) for key, value in compared.items()}
    loss, metrics = loss_fn(batch_of(compared, mask))
    (gradient,) = torch.autograd.grad(loss.sum(), student)
    assert loss[0, 0] > 0 and loss[0, 1] == 0 and gradient[0].any() and not gradient[1].any()
    assert all(value.isfinite() and not value.requires_grad for value in metrics.values())


@pytest.mark.parametrize("name", ["opsdc", "aligndistil"])
def test_what_the_trainer_derives_from_them(name):
    loss_fn = build("loss", name)
    assert ignores_advantage(loss_fn) and not silent_without_advantage(loss_fn) and not depends_on_cut(loss_fn)
    assert not ignores_advantage(build("loss", "clip"))
    bare = {"loss": name, "advantage": "identity"}
    assert warnings_of(Objective.from_specs(bare), ratio_is_one=True) == []
    found = warnings_of(Objective.from_specs({**bare, "reward": "shorterbetter", "advantage": "group_mean"}))
    assert any("shorterbetter" in one.text and "group_mean" in one.text for one in found)


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "opsdc", "update_steps": 0},
        {"name": "opsdc", "instruction": " "},
        {"name": "aligndistil", "instruction": None},
        {"name": "aligndistil", "teacher": "a", "contrast": "a", "instruction": None},
        {"name": "aligndistil", "floor": 0},
    ],
)
def test_what_cannot_be_distilled_is_an_error(spec):
    with pytest.raises(ConfigError):
        build("loss", spec)
