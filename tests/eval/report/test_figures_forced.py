from tersely.eval.report import svg
from tersely.eval.report.figures_forced import forced_answer_curve

CURVE = {
    "of": "base",
    "form": "answer_prefix=boxed",
    "budgets": [0, 16, 64],
    "accuracy": [0.2, 0.4, 0.7],
    "accuracy_ci": [[0.1, 0.3], [0.3, 0.5], [0.6, 0.8]],
    "tokens_mean": [8.0, 24.0, 60.0],
    "auc": 0.55,
}


def test_the_curve_and_its_table():
    figure = forced_answer_curve("f", [CURVE], {"base": 0})
    assert figure.rows[1] == ["base", 16, "24.0", "40.0 %", "30.0 % to 50.0 %"]
    assert "area 0.550" in figure.alt and figure.legend == [(0, "base")]
    if svg.available():
        picture = svg.svg(figure)
        assert picture.startswith("<svg") and ">64<" in picture
    assert forced_answer_curve("f", [], {}) is None


def test_two_forms_are_with_unique_names():
    figure = forced_answer_curve("f", [CURVE, {**CURVE, "form": "answer_prefix=s1"}], {"base": 0})
    assert [name for _, name in figure.legend] == ["base (answer_prefix=boxed)", "base (answer_prefix=s1)"]
