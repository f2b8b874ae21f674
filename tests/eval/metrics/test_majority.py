import time
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tersely.eval.metrics import majority_at_k, mean_at_n

NAN = np.nan


def enumerate_votes(answers, correct, k):
    """The definition, one subset at a time."""
    sample = [(a, c) for a, c in zip(answers, correct, strict=False) if not np.isnan(c)]
    score = {a: np.mean([c for b, c in sample if b == a]) for a, _ in sample}
    values = []
    for chosen in combinations(sample, k):
        votes = {}
        for a, _ in chosen:
            if a is not None:
                votes[a] = votes.get(a, 0) + 1
        winners = [a for a, v in votes.items() if v == max(votes.values())]
        values.append(np.mean([score[a] for a in winners]) if winners else 0.0)
    return np.mean(values) if values else NAN


samples = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", "d", None]), st.sampled_from([0.0, 1.0, NAN])), min_size=1, max_size=9
)


@settings(deadline=None)
@given(samples, st.integers(1, 9))
def test_equals_enumeration(sample, k):
    answers, correct = [a for a, _ in sample], [c for _, c in sample]
    expected = enumerate_votes(answers, correct, k)
    got = majority_at_k([answers], [correct], k)
    assert (np.isnan(got) and np.isnan(expected)) or got == pytest.approx(expected, abs=1e-12)


def test_ties_and_silence():
    assert majority_at_k([["x", "y"]], [[1, 0]], 2) == pytest.approx(0.5)
    assert majority_at_k([[None, None]], [[0, 0]], 2) == 0.0
    assert majority_at_k([["x", None]], [[1, 0]], 2) == pytest.approx(1.0)
    assert majority_at_k([["x", NAN]], [[1, 0]], 1) == pytest.approx(0.5)


def test_one_vote_is_mean_at_n_when_every_answer_speaks():
    answers, correct = [["x", "x", "y"], ["z", "w", "w"]], [[1, 1, 0], [0, 1, 1]]
    assert majority_at_k(answers, correct, 1) == pytest.approx(mean_at_n(correct))


def test_labels_may_be_any_hashable_and_one_dimensional():
    assert majority_at_k([(1, 2), ("a", "b")], [1, 0], 1) == pytest.approx(0.5)
    assert majority_at_k(np.array([["3", "3"]], dtype=object), [[1, 1]], 2) == pytest.approx(1.0)


def test_a_column_and_a_vector_are_the_same():
    for answers in (["42", "7", None], [["42"], ["7"], [None]], [42, 7.5, None]):
        for correct in ([1, 0, 0], [[1], [0], [0]]):
            assert majority_at_k(answers, correct, 1) == pytest.approx(1 / 3)
    assert majority_at_k([[("a", 1), "b"]], [[1, 0]], 2) == 0.5
    with pytest.raises(ValueError, match="answers.*not hashable"):
        majority_at_k([[["a"]]], [[1]], 1)


def test_problems_with_too_few_samples_are_left_out():
    assert majority_at_k([["x", "x"], ["y", "y"]], [[1, 1], [0, NAN]], 2) == pytest.approx(1.0)
    assert np.isnan(majority_at_k([["x"]], [[1]], 2))
    assert np.isnan(majority_at_k([], [], 1))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="k.* 0"):
        majority_at_k([["x"]], [[1]], 0)
    for answers in ([["x"]], [["x", "y"], ["z", "z"]]):
        with pytest.raises(ValueError, match="answers"):
            majority_at_k(answers, [[1, 0]], 1)


def test_sixty_four_and_seven_hundred_samples():
    rng = np.random.default_rng(0)
    answers, correct = rng.integers(0, 12, (1, 64)), np.zeros((1, 64))
    correct[answers == 3] = 1
    start = time.process_time()
    value = majority_at_k(answers, correct, 32)
    assert time.process_time() - start < 1.0 and 0 <= value <= 1
    draws = [rng.permutation(64)[:32] for _ in range(500)]

    def vote(drawn):
        votes = np.bincount(drawn, minlength=12)
        return (votes[3] == votes.max()) / (votes == votes.max()).sum()

    simulated = np.mean([vote(answers[0][d]) for d in draws])
    assert value == pytest.approx(simulated, abs=0.05)
    many = np.arange(700)[None] % 2
    assert majority_at_k(many, (many == 0).astype(float), 350) == pytest.approx(1 / 2, abs=0.02)
