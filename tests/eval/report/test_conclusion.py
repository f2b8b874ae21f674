import numpy as np
import pytest

from tersely.core.errors import ConfigError
from tersely.eval.report.conclusion import conclude, margin_of, problems_text, sentence, signed

NAN = float("nan")


def comparison(tokens=-0.1, tokens_ci=(-0.2, -0.05), accuracy=0.0, ci=(-0.01, 0.01), p=1.0, **more):
    return {
        "tokens_change": tokens,
        "tokens_change_ci": list(tokens_ci),
        "tokens_p": 0.001,
        "tokens_differing": 100,
        "accuracy_change": accuracy,
        "accuracy_change_ci": list(ci),
        "accuracy_change_bounds": [accuracy, accuracy],
        "accuracy_p": p,
        "not_worse_p": 0.5,
        "problems": 100,
        "gaps": np.linspace(-0.3, 0.3, 100) + (0 if np.isnan(accuracy) else accuracy),
    } | more


def concluded(*args, **more):
    c = comparison(*args, **more)
    conclude([c])
    return c


@pytest.mark.parametrize(
    "more, expected, words",
    [
        ({"accuracy": -0.02, "p": 0.04}, "worse", "accuracy -2.0 pt [-1.0, +1.0], worse"),
        ({"accuracy": -0.002, "p": 0.04, "not_worse_p": 0.01}, "worse", "worse, by no more than 1 pt (95 %)"),
        ({"accuracy": -0.02, "p": 0.2, "ci": (-0.04, -0.001)}, "undecided", "more problems would decide"),
        ({"accuracy": 0.02, "p": 0.01}, "better", "better"),
        ({"accuracy": 0.02, "p": 0.2, "ci": (0.001, 0.04)}, "undecided", "more problems would decide"),
        ({"not_worse_p": 0.04}, "not_worse", "not worse by more than 1 pt (95 %)"),
        ({"accuracy": NAN, "p": NAN}, "unknown", "accuracy not comparable"),
        ({"accuracy": -0.5, "problems": 1}, "unknown", "not comparable, from one problem, which has no interval"),
        # undecided samples could turn the sign
        ({"accuracy": 0.02, "p": 0.01, "accuracy_change_bounds": [-0.01, 0.03]}, "undecided", "would decide"),
        ({"accuracy": -0.02, "p": 0.01, "accuracy_change_bounds": [-0.03, 0.01]}, "undecided", "would decide"),
    ],
)
def test_conclusions_on_accuracy(more, expected, words):
    c = concluded(**more)
    assert c["accuracy_conclusion"] == expected and words in c["verdict"]
    assert c["verdict"] == sentence(c)


@pytest.mark.parametrize(
    "tokens_ci, more, expected",
    [
        ((-0.2, -0.05), {}, "fewer"),
        ((-0.2, -0.05), {"tokens_p": 0.06}, "none"),  # the interval alone is no evidence
        ((-0.2, 0.05), {}, "none"),
        ((0.05, 0.2), {}, "more"),
        ((-0.2, -0.05), {"tokens_p": 0.0625, "tokens_differing": 5}, "too_few"),
        ((NAN, NAN), {}, "unknown"),
    ],
)
def test_conclusions_on_tokens_need_the_test(tokens_ci, more, expected):
    assert concluded(-0.1, tokens_ci, **more)["tokens_conclusion"] == expected


def test_holm_is_over_all_comparisons_of_a_report():
    alone = concluded(tokens_p=0.03, accuracy=0.02, p=0.03)
    assert (alone["tokens_conclusion"], alone["accuracy_conclusion"]) == ("fewer", "better")
    many = [comparison(tokens_p=0.03, accuracy=0.02, p=0.03) for _ in range(2)]
    many += [comparison(not_worse_p=0.03)]
    conclude(many)
    assert [c["tokens_conclusion"] for c in many] == ["none", "none", "fewer"]
    assert {c["accuracy_conclusion"] for c in many} == {"undecided"}
    assert many[0]["accuracy_p_holm"] == pytest.approx(0.09) and "gaps" not in many[0]


def test_words_about_tokens():
    assert concluded(0.01, (-0.1, 0.1)).get("verdict").endswith("no significant change of tokens")
    assert "at least 6" in concluded(tokens_p=0.5, tokens_differing=2)["verdict"]
    assert "unknown % tokens" in concluded(NAN, (NAN, NAN))["verdict"]


def test_the_margin():
    assert margin_of(2) == 0.02
    c = comparison(not_worse_p=0.01)
    conclude([c], 0.025)
    assert "by more than 2.5 pt" in c["verdict"]
    for points in (0, -1, 100):
        with pytest.raises(ConfigError, match="--margin.* above 0 and below 100"):
            margin_of(points)


def test_no_negative_zero():
    assert signed(-0.0004, 0) == "+0" and signed(-0.0004, 1) == "+0.0" and signed(-0.0006, 1) == "-0.1"


def test_problems_that_only_one_run_has_are_said():
    assert problems_text({"problems": 5, "problems_run": 5, "problems_base": 5}) == "5 problems"
    said = problems_text({"problems": 3, "problems_run": 5, "problems_base": 4})
    assert said == "3 common problems, of 5 and the base's 4"
