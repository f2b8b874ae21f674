"""Intervals and tests; import from here. Pure numpy: rows are problems, and the bootstrap resamples whole problems."""

from tersely.eval.stats.bootstrap import (
    Interval,
    bootstrap_mean,
    bootstrap_statistic,
    dominance_probability,
    paired_bootstrap,
)
from tersely.eval.stats.margin import non_inferiority_p, problems_to_decide
from tersely.eval.stats.seeds import seed_means, seeds_bootstrap, seeds_margin_p, seeds_p
from tersely.eval.stats.tests import (
    clustered_standard_error,
    holm,
    least_p,
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
    "least_p",
    "mcnemar_exact",
    "non_inferiority_p",
    "paired_bootstrap",
    "paired_permutation",
    "paired_standard_error",
    "problems_to_decide",
    "seed_means",
    "seeds_bootstrap",
    "seeds_margin_p",
    "seeds_p",
    "sign_test",
    "standard_error",
]
