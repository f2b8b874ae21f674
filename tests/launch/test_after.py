"""`--eval-options` of the launchers: checked before a training starts, which may take days."""

from __future__ import annotations

import argparse

import pytest

from tersely.core.errors import ConfigError
from tersely.launch.after import check_evaluation


def given(words, benchmarks="testbed"):
    return argparse.Namespace(eval=benchmarks, eval_options=words)


@pytest.mark.parametrize("words", ["", "--limit 2 --samples 1", "--prompting none", "--system-prompt 'Be brief.'"])
def test_options_of_an_evaluation_pass(words):
    check_evaluation(given(words))


@pytest.mark.parametrize(
    ("words", "benchmarks", "message"),
    [
        ("--limit '2", "testbed", "--eval-options.*No closing quotation"),
        ("--out x", "testbed", "--eval-options: --out"),
        ("--name x", "testbed", "--eval-options: --name"),
        ("--benchmarks gsm8k", "testbed", "--eval-options: --benchmarks"),
        ("--list", "testbed", "--eval-options: --list"),
        ("--limit 2", "", "--eval-options.*'--limit 2'"),
        ("", "testbedd", "testbedd"),
    ],
)
def test_what_the_evaluation_would_refuse_or_nothing_would_read(words, benchmarks, message):
    with pytest.raises(ConfigError, match=message):
        check_evaluation(given(words, benchmarks))
