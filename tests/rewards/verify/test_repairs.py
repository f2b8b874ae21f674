from __future__ import annotations

import pytest

from tersely.rewards.verify.repairs import _CHOSEN, _OTHER_CHOICE


@pytest.mark.parametrize("text", [r"A:HA:HA:\in H", "A: yes B: no", "(A) or (B)", "A) and B)"])
def test_an_answer_that_names_a_second_choice_is_no_choice(text):
    """The first was found by fuzzing: letters that only look like words hide a second mark."""
    made = _CHOSEN.fullmatch(text)
    assert made is None or _OTHER_CHOICE.search(made.group("content"))
