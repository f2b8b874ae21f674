"""The options `--scorer` and `--threshold` of commands that grade answers."""

from __future__ import annotations

import argparse
from typing import Any

from tersely.configs.scorer import VERIFIER, ScorerSpec
from tersely.core.errors import ConfigError
from tersely.launch.cli.parser import number


def add_scorer_options(parser: argparse.ArgumentParser, use: str) -> None:
    """Add `--scorer` and `--threshold`. `use`: what the command does with the scorer, for its help."""
    parser.add_argument("--scorer", metavar="NAME", help=f"{use}: reasoning_gym, package.module:function, or verifier")
    parser.add_argument(
        "--threshold",
        type=number(above=0, at_most=10**9),
        help="with --scorer: an answer is correct if its score is at least this (default: 1)",
    )


def scorer_of(options: Any) -> ScorerSpec | None:
    """The scorer of the options, imported; None for the verifier's comparison.

    Raises `ConfigError` if it is unknown or cannot be imported.
    """
    from tersely.rewards.verify.scorers.grade import load_scorer

    if options.scorer is None:
        if options.threshold is not None:
            raise ConfigError(f"--threshold: got {options.threshold:g} without --scorer. Add --scorer")
        return None
    if options.scorer == VERIFIER:
        return None
    scorer = ScorerSpec.of({"name": options.scorer, "threshold": options.threshold or 1.0}, "--scorer")
    if scorer is not None:
        load_scorer(scorer.name)
    return scorer
