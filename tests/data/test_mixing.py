from hypothesis import given
from hypothesis import strategies as st

from tersely.data.mixing import draw, interleave

sizes = st.lists(st.tuples(st.integers(1, 60), st.floats(0.1, 10)), min_size=1, max_size=4)


@given(sizes, st.integers(0, 5))
def test_shares_hold_and_no_row_comes_twice(sources, seed):
    rows = [[(index, k) for k in range(count)] for index, (count, _) in enumerate(sources)]
    weights = [weight for _, weight in sources]
    mix = [row for _, row in interleave(rows, weights, seed)]
    assert len(set(mix)) == len(mix)
    counts = [sum(row[0] == index for row in mix) for index in range(len(sources))]
    whole = min(count / (weight / sum(weights)) for count, weight in sources)
    for count, weight in zip(counts, weights, strict=True):
        assert abs(count - whole * weight / sum(weights)) <= 1
    assert any(count == size for count, (size, _) in zip(counts, sources, strict=True)), (
        "the scarcest source is used up"
    )


def test_even_spread():
    mix = [index for index, _ in interleave([list(range(10)), list(range(30))], [1, 3], 0)]
    for start in range(0, 40, 4):
        assert sum(index == 0 for index in mix[start : start + 4]) == 1


def test_draw_depends_on_seed_and_label_alone():
    items = list(range(100))
    assert draw(items, 10, 0, "a") == draw(items, 10, 0, "a") != draw(items, 10, 0, "b")
    assert draw(items, 200, 0, "a") == items
