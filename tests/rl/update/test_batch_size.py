from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersely.rl.update.batch_size import BatchLayout


@given(st.integers(1, 8), st.integers(2, 8), st.integers(1, 6), st.integers(1, 4), st.integers(1, 4))
def test_a_plan_that_is_accepted_adds_up(prompts, group, micro, updates, ranks):
    try:
        plan = BatchLayout(prompts, group, micro, updates, ranks)
    except ValueError:
        return
    trl = plan.trl_arguments()
    assert trl["per_device_train_batch_size"] * trl["steps_per_generation"] * ranks == prompts * group
    assert trl["gradient_accumulation_steps"] * updates == trl["steps_per_generation"]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((3, 4, 4, 1, 5), "12 rows.*5 ranks"),
        ((4, 4, 5, 1, 1), "micro_batch.* 5.*16 rows per rank: 1, 2, 4, 8, 16"),
        ((4, 4, 4, 3, 1), "updates_per_batch.* 3.*4 micro-batches per rank: 1, 2, 4"),
        ((4, 1, 4, 1, 1), "group_size.* 1"),
        ((0, 4, 4, 1, 1), "prompts_per_step.* 0"),
    ],
)
def test_impossible_arithmetic_names_the_way_out(numbers, message):
    with pytest.raises(ValueError, match=message):
        BatchLayout(*numbers)


def test_the_table_holds_every_number():
    table = {name: value for name, value, _ in BatchLayout(8, 16, 32, 2, 2).table()}
    assert table["rows"] == 128 and table["micro_batches"] == 2 and table["accumulation"] == 1
