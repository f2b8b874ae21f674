"""Self-braking and control tokens as rewrites: what is cut, masked, added and exempt."""

from __future__ import annotations

import pytest

from tersely.core.component_spec import ComponentSpec
from tersely.core.errors import ConfigError
from tersely.rl.sft.examples import Attempt
from tersely.rl.sft.rewrites import build_rewrite
from tersely.rl.sft.self_braking_formulas import BRAKE_DYNAMIC, BRAKE_EXACT

STEPS = [
    "47 + 8 = 55.",
    "55 - 9 = 46. The answer is 46.",
    "Wait. Check. So the answer is 46.",
    "Another way. Add up first. The answer is 46.",
    "Let me verify. The answer is 46.",
]
REST = "\n\\boxed{46}"


def attempt(*steps, rest=REST, tail="<assistant><think>\n"):
    text = "\n\n".join(steps) + "\n</think>" + rest
    return Attempt(tail + text, text, len(text.split()))


def words(text):
    return len(text.split())


def rewritten(*attempts, **parameters):
    return build_rewrite(ComponentSpec("sbt", parameters), "stage s")(attempts, words)


def test_exact_keeps_two_solutions_and_masks_the_start_of_the_third():
    (example,) = rewritten(attempt(*STEPS))
    kept, masked, brake, end, rest = example.spans
    assert kept.text == "\n\n".join(STEPS[:3]) and (masked.text, masked.weight) == ("\n\nAnother way. Add up first.", 0)
    assert brake.text == f"\n\n{BRAKE_EXACT}" and end.text == "\n</think>\n" and rest.text == "\\boxed{46}"
    assert [span.exempt for span in example.spans] == [False, False, True, True, False]
    assert "".join(span.text for span in example.spans).count("</think>") == 1


def test_the_papers_order_has_the_sentence_first():
    (example,) = rewritten(attempt(*STEPS), order="kept_brake_masked")
    assert example.spans[1].text == f"\n\n{BRAKE_EXACT}" and example.spans[2].weight == 0


def test_dynamic_cuts_where_the_score_passes_its_thresholds():
    """Twelve steps without markers, the answer in the eighth: score = 0.9 (1 - 8 / end)."""
    steps = [f"step {i}" for i in range(1, 8)] + ["it is 46", "again", "again", "again", "again"]
    (example,) = rewritten(attempt(*steps), form="dynamic")
    kept, masked, brake, *_ = example.spans  # 0.2 is passed at end 11 (0.245), 0.25 at end 12 (0.3)
    assert kept.text == "\n\n".join(steps[:11]) and (masked.text, masked.weight) == ("\n\nagain", 0)
    assert brake.text == f"\n\n{BRAKE_DYNAMIC}"


def test_traces_that_do_not_overthink_pass_unchanged():
    for one in (attempt(*STEPS[:2]), attempt("a", "b", "c", "d", "the answer is 46", "so")):
        (example,) = rewritten(one)
        assert example.kind == "whole" and [span.text for span in example.spans] == [one.text]
    one_step = attempt(" ".join(STEPS))
    assert rewritten(one_step)[0].kind == "whole"


def test_traces_that_never_state_the_answer_are_left_out_or_kept():
    silent = attempt("thinking", "hard")
    assert rewritten(silent) == [] and rewritten(Attempt("46", "46", 1)) == []
    (example,) = rewritten(silent, Attempt("46", "46", 1), unstated="keep")
    assert example.kind == "unstated" and example.spans[0].text == silent.text


def test_the_brake_has_the_form_of_the_models_traces():
    """A model that writes one step per line, and a sentence of its own."""
    lines = "\n".join(["40 + 6 = 46"] * 4) + "\n</think>\n\\boxed{46}"
    (example,) = rewritten(Attempt(lines, lines, 20), separator="\n", brake="wait, ok")
    trained = "".join(span.text for span in example.spans if span.weight)
    assert trained == "40 + 6 = 46\n40 + 6 = 46\nwait, ok\n</think>\n\\boxed{46}"


@pytest.mark.parametrize(
    "parameters, wants",
    [
        ({"form": "exakt"}, "form"),
        ({"beta": 2.0}, "beta"),
        ({"tau2": 0.1}, "tau2"),
        ({"separator": ""}, "separator"),
        ({"brake": " "}, "brake"),
        ({"unstated": "drop"}, "unstated"),
    ],
)
def test_what_is_refused(parameters, wants):
    with pytest.raises(ConfigError, match=wants):
        rewritten(**parameters)


def test_thinkless_puts_a_control_token_first():
    from tersely.core.parse_completion import parse_completion

    short, long = (attempt(*steps, tail="<assistant>") for steps in (STEPS[:2], STEPS))
    first, second = build_rewrite(ComponentSpec.of("rewrite", "thinkless"), "stage s")([long, short], words)
    texts = ["".join(span.text for span in example.spans) for example in (first, second)]
    assert [parse_completion(text).mode for text in texts] == ["short", "think"]
    assert all(parse_completion(text).well_formed for text in texts)
    assert "Another" not in texts[0] and "Another" in texts[1] and first.spans[0].exempt
    with pytest.raises(ConfigError, match="<think>"):
        build_rewrite(ComponentSpec.of("rewrite", "thinkless"), "stage s")([attempt(*STEPS)], words)
