from __future__ import annotations

import pytest
import sympy.core.cache
import sympy.core.random

from tersely.rewards.verify.compare.math_verify import Engine
from tersely.rewards.verify.compare.rules import _CHOSEN, _OTHER_CHOICE


@pytest.mark.parametrize("text", [r"A:HA:HA:\in H", "A: yes B: no", "(A) or (B)", "A) and B)"])
def test_an_answer_that_names_a_second_choice_is_no_choice(text):
    """The first was found by fuzzing: letters that only look like words hide a second mark."""
    made = _CHOSEN.fullmatch(text)
    assert made is None or _OTHER_CHOICE.search(made.group("content"))


@pytest.mark.parametrize("answer", ["\\infty ½", "\\infty - \\infty", "\\frac{\\infty}{2}"])
def test_infinity_in_a_sum_or_product_is_no_finite_number_whatever_sympy_drew(answer):
    engine, left = Engine(), []
    for seed in range(40):
        sympy.core.random.seed(seed)
        sympy.core.cache.clear_cache()
        assert engine.compare("0.1666...", answer)[0] == "incorrect"
        left.append(sympy.core.random.rng.random())
    assert len(set(left)) == 1, "every comparison draws the same numbers"
