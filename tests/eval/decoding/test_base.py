from hypothesis import given
from hypothesis import strategies as st

from tersely.eval.decoding.base import Prompt, Row, closed_at
from tersely.rl.rollouts.record import thinking_length

IDS = st.lists(st.integers(0, 3), max_size=12)


@given(IDS, st.lists(st.integers(0, 3), min_size=1, max_size=3))
def test_the_end_of_thinking_is_where_training_finds_it(ids, end):
    assert (closed_at(ids, end) or len(ids)) == thinking_length(ids, end)


def test_no_marker_never_ends():
    assert closed_at([1, 2], ()) is None and closed_at([], (1,)) is None


def test_the_cap_is_on_what_the_model_writes_and_the_context_on_everything():
    row = Row(Prompt("p", 0, (1, 2), 10, context=16), (1, 2))
    row.add([3, 4, 5], "thinking")
    row.add([6, 7], "written", injected=True)
    assert (row.left, row.room, row.injected) == (7, 9, [False] * 3 + [True] * 2)
    row.pay(5, "probe")
    assert (row.left, row.extra, row.phases) == (7, 5, [("thinking", 3), ("written", 2), ("probe", 5)])
    assert Row(Prompt("p", 0, (1,), 10, context=6), (1,)).left == 5
