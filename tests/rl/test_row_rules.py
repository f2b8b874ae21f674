import torch

from tersely.rl.engine import GenerationRequest
from tersely.rl.row_rules import RowRules


def test_each_row_has_its_own():
    requests = [
        GenerationRequest((1,), 0, 5, stop_ids=(3, 4), banned_ids=(0,)),
        GenerationRequest((1,), 0, 5),
        GenerationRequest((1,), 0, 5, stop_ids=(2,), banned_ids=(1, 99)),
    ]
    rules = RowRules.of(requests, 6, torch.device("cpu"))
    banned = rules.allowed(torch.zeros(3, 6)).isinf()
    assert banned.nonzero().tolist() == [[0, 0], [2, 1]]
    assert rules.stopped(torch.tensor([4, 4, 4])).tolist() == [True, False, False]
    rules.keep(torch.tensor([2, 1]))
    assert rules.stopped(torch.tensor([2, 2])).tolist() == [True, False]
    assert rules.allowed(torch.zeros(2, 6)).isinf().nonzero().tolist() == [[0, 1]]


def test_a_batch_without_rules_has_none():
    assert RowRules.of([GenerationRequest((1,), 0, 5)], 6, torch.device("cpu")) is None
