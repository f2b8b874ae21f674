from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tersely.core.seeds import sample_seed, stable_id


def test_every_coordinate_counts_and_nothing_else():
    base = (7, 3, "prompt", 1)
    others = [(8, 3, "prompt", 1), (7, 4, "prompt", 1), (7, 3, "prompts", 1), (7, 3, "prompt", 2)]
    seeds = [sample_seed(*coordinates) for coordinates in (base, *others)] + [sample_seed(*base, salt="eval")]
    assert len(set(seeds)) == 6 and sample_seed(*base) == seeds[0]


def test_seeds_are_the_same_for_ever():
    """A run that is resumed by a later release draws the same samples."""
    assert sample_seed(0, 0, "a", 0) == 2733213297650675605
    assert stable_id("2 + 2", "4") == "c71fcf498a2de540"


@given(st.integers(0, 2**31), st.integers(0, 10**6), st.text(max_size=20), st.integers(0, 64))
def test_seeds_fit_a_signed_64_bit_integer(run_seed, step, prompt_id, index):
    assert 0 <= sample_seed(run_seed, step, prompt_id.encode("utf-8", "replace").decode(), index) < 2**63


def test_parts_are_kept_apart_and_any_text_has_an_id():
    assert stable_id("ab", "c") != stable_id("a", "bc")
    assert len(stable_id("\ud800")) == 16
