"""Values over the vocabulary in parts equal those of the whole logits, with their gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tersely.core.divergence import kl_divergence
from tersely.rl.update import vocabulary
from tersely.rl.update.vocabulary import Projection, over_vocabulary

TOKENS, HIDDEN, WORDS = 11, 6, 9


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_parts_equal_the_whole(monkeypatch, bias, frozen):
    monkeypatch.setattr(vocabulary, "PART", 4 * WORDS)  # three parts
    torch.manual_seed(0)
    head, other = nn.Linear(HIDDEN, WORDS, bias=bias), nn.Linear(HIDDEN, WORDS)
    head.requires_grad_(not frozen)
    hidden, known, scale = torch.randn(TOKENS, HIDDEN), torch.randn(TOKENS, HIDDEN), torch.rand(TOKENS)
    teacher, seen = Projection.of(other, 0.7), []

    def formula(logp, part):
        seen.append(len(logp))
        with torch.no_grad():
            against = teacher.log_probs(teacher.logits(known[part]))
        return torch.stack([kl_divergence(logp, against), logp[:, 2]], dim=-1)

    def found(run):
        leaf = hidden.clone().requires_grad_()
        values = run(leaf)
        parameters = [p for p in head.parameters() if p.requires_grad]
        weighted = (scale * values[:, 0]).sum() + values[:, 1].square().sum()
        return values.detach(), *torch.autograd.grad(weighted, [leaf, *parameters])

    def whole(leaf):
        return formula((head(leaf) / 0.7).log_softmax(-1), slice(0, TOKENS))

    parts = found(lambda leaf: over_vocabulary(formula, leaf, Projection.of(head, 0.7), [teacher]))
    assert max(seen) == 4 and seen == [4, 4, 3] * 2
    for one, expected in zip(parts, found(whole), strict=True):
        assert torch.allclose(one, expected, atol=1e-6)


def test_no_token_has_no_value_and_a_gradient_of_zero():
    head = nn.Linear(HIDDEN, WORDS, bias=False)
    leaf = torch.randn(0, HIDDEN).requires_grad_()
    values = over_vocabulary(lambda logp, part: logp[:, :2], leaf, Projection.of(head, 1.0))
    values.sum().backward()
    assert values.shape == (0, 2) and not head.weight.grad.any()
