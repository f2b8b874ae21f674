from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersely.rl.rollouts.prompt_sampler import PromptStream


def stream(**changes):
    return PromptStream(
        **{"rows": 10, "prompts": 3, "group_size": 2, "repeats": 2, "batches": 7, "seed": 1, "shuffle": True, **changes}
    )


def test_groups_are_adjacent_and_batches_repeat():
    indices = list(stream())
    assert len(indices) == len(stream()) == 7 * 2 * 6
    first, again = indices[:6], indices[6:12]
    assert first == again and first[::2] == first[1::2]


@given(st.integers(0, 2**40), st.integers(3, 50), st.integers(1, 20))
def test_an_epoch_visits_no_prompt_twice(seed, rows, batches):
    sampler = stream(seed=seed, rows=rows, batches=batches)
    per_epoch = rows // 3
    for start in range(0, batches, per_epoch):
        seen = [i for number in range(start, min(start + per_epoch, batches)) for i in sampler.batch(number)]
        assert len(seen) == len(set(seen))


def test_epochs_differ_and_the_seed_decides():
    sampler = stream()
    assert sampler.batch(0) != sampler.batch(3)
    assert sampler.batch(4) == stream().batch(4)
    assert [sampler.batch(i) for i in range(3)] != [stream(seed=2).batch(i) for i in range(3)]


def test_unshuffled_is_the_dataset_order():
    assert list(stream(shuffle=False, group_size=1, repeats=1, batches=4)) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 2]


def test_too_few_prompts_is_an_error_that_says_so():
    with pytest.raises(ValueError, match="prompts_per_step.*3.*2"):
        stream(rows=2)
