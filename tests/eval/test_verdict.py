import pytest

from tersely.eval.verdict import mark_significance, problems_text, sentence, signed

NAN = float("nan")


def comparison(tokens, tokens_ci, accuracy, accuracy_ci, p):
    c = {
        "tokens_change": tokens,
        "tokens_change_ci": tokens_ci,
        "accuracy_change": accuracy,
        "accuracy_change_ci": accuracy_ci,
        "accuracy_p_holm": p,
    }
    mark_significance(c)
    return c


def test_the_sentence():
    c = comparison(-0.432, [-0.47, -0.391], -0.004, [-0.016, 0.008], 0.6)
    assert sentence(c) == "-43 % tokens [-47, -39], accuracy -0.4 pt [-1.6, +0.8], no significant loss"


@pytest.mark.parametrize(
    "accuracy, ci, p, verdict",
    [
        (-0.02, [-0.04, -0.001], 0.2, "loss"),
        (-0.02, [-0.04, 0.001], 0.04, "loss"),
        (-0.02, [-0.04, 0.001], 0.2, "none"),
        (0.02, [0.001, 0.04], 0.2, "none"),
        (0.02, [-0.001, 0.04], 0.01, "none"),
        (0.02, [0.001, 0.04], 0.01, "gain"),
        (0.0, [0.0, 0.0], 1.0, "none"),
        (NAN, [NAN, NAN], NAN, "unknown"),
    ],
)
def test_doubt_counts_against_the_run(accuracy, ci, p, verdict):
    c = comparison(-0.1, [-0.2, -0.05], accuracy, ci, p)
    assert c["accuracy_verdict"] == verdict
    assert ("loss" in sentence(c)) == (verdict in ("loss", "none"))


def test_tokens_that_did_not_change_are_said_so():
    assert sentence(comparison(0.01, [-0.1, 0.1], 0, [0, 0], 1)).endswith("no significant change of tokens")
    assert comparison(0.2, [0.1, 0.3], 0, [0, 0], 1)["tokens_verdict"] == "more"
    assert "unknown % tokens" in sentence(comparison(NAN, [NAN, NAN], 0, [0, 0], 1))


def test_no_negative_zero():
    assert signed(-0.0004, 0) == "+0" and signed(-0.0004, 1) == "+0.0" and signed(-0.0006, 1) == "-0.1"


def test_one_problem_is_no_verdict():
    c = comparison(-0.5, [-0.5, -0.5], -0.5, [-0.5, -0.5], 1.0) | {"problems": 1}
    mark_significance(c)
    assert c["accuracy_verdict"] == "unknown" and sentence(c).endswith(
        "not comparable, from one problem, which has no interval"
    )


def test_problems_that_only_one_run_has_are_said():
    assert problems_text({"problems": 5, "problems_run": 5, "problems_base": 5}) == "5 problems"
    said = problems_text({"problems": 3, "problems_run": 5, "problems_base": 4})
    assert said == "3 problems shared, of 5 and the base's 4"
