"""Intervals and tests; import from here. Pure numpy: rows are problems, and problems are what is redrawn."""

from tersely.eval.stats_bootstrap import (
    Interval,
    bootstrap_mean,
    bootstrap_statistic,
    dominance_probability,
    paired_bootstrap,
)
from tersely.eval.stats_tests import (
    clustered_standard_error,
    holm,
    mcnemar_exact,
    paired_permutation,
    paired_standard_error,
    sign_test,
    standard_error,
)

__all__ = [
    "Interval",
    "bootstrap_mean",
    "bootstrap_statistic",
    "clustered_standard_error",
    "dominance_probability",
    "holm",
    "mcnemar_exact",
    "paired_bootstrap",
    "paired_permutation",
    "paired_standard_error",
    "sign_test",
    "standard_error",
]
