import pytest

from tersely.checks import SpecError
from tersely.eval.command import main, summary_line


def test_list(capsys):
    assert main(["--list"]) == 0
    assert "math500                MATH-500 (n = 4)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "needs model, --benchmarks, --out"),
        (["testbed", "--out", "x"], "needs --benchmarks"),
        (["no/model", "--out", "x", "--benchmarks", "math50"], "did you mean 'math500'"),
    ],
)
def test_what_is_missing_is_named_before_anything_is_loaded(arguments, message):
    with pytest.raises(SpecError, match=message):
        main(arguments)


def test_summary_line():
    facts = {"samples": 8, "accuracy": 0.8214, "tokens_mean": 61.28, "truncated": 0.004, "undecided": 0.0}
    assert summary_line("sums", facts) == (
        "sums: accuracy 82.1 %, 61.3 tokens, truncated 0.4 %, undecided 0.0 % (8 samples)"
    )
