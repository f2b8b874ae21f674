from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from tersely.core.types import TokenBatch


def test_half_a_group_is_refused_with_the_cause(rollouts_of):
    with pytest.raises(ValueError, match="rollouts: 5 rows .* group_size 2"):
        rollouts_of(correct=[1.0] * 5, group_size=2)


@pytest.mark.parametrize("field", ["budget", "thinking_length", "well_formed", "token_ids", "entropy"])
def test_a_field_with_other_rows_is_named(rollouts_of, field):
    with pytest.raises(ValueError, match=f"rollouts.{field}: got 3 rows; expected 2"):
        rollouts_of(correct=[1.0, 0.0], **{field: torch.zeros(3)})
    with pytest.raises(ValueError, match="rollouts.mode.*1 entries"):
        rollouts_of(correct=[1.0, 0.0], mode=["think"])


def test_grouping_and_undecided(rollouts_of):
    rollouts = rollouts_of(correct=[1.0, float("nan"), 0.0, 1.0], group_size=2)
    assert rollouts.grouped(rollouts.length).shape == (2, 2)
    assert rollouts.decided.tolist() == [True, False, True, True]
    with pytest.raises(ValueError, match="rollouts.budget.*lapo"):
        rollouts.require("budget", "lapo")


def test_a_token_batch_says_what_it_lacks():
    zeros = torch.zeros(1, 2)
    batch = TokenBatch(zeros, zeros, zeros, torch.tensor([[1.0, 0.0]]), zeros)
    assert batch.valid.tolist() == [[True, False]]
    with pytest.raises(ValueError, match="token_batch.ref_logp.*kl_penalty"):
        batch.require("ref_logp", "kl_penalty")


def test_types_need_neither_trl_nor_transformers():
    heavy = "('trl', 'vllm', 'transformers')"
    code = (
        f"import sys, tersely.core.types, tersely.algorithms.objective; print([m for m in {heavy} if m in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
