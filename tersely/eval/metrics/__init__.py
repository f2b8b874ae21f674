"""All evaluation metrics, by family; import from here. Pure numpy: no model, no tokenizer, no files.

Arrays: `correct` (Q, n) of 1, 0 and nan (undecided); `tokens` (Q, n), nan = no such sample; 1-D is read as (Q, 1).
A sample with nan in an array is dropped from every metric that takes that array, and so is a problem without samples. An
empty result is nan, never an exception or a warning. Macro: mean over samples, then over problems. Accuracy is a fraction.
"""

from tersely.eval.metrics.accuracy import (
    accuracy_bounds,
    g_pass_at_k,
    mean_at_n,
    mg_pass_at_k,
    pass_at_k,
    pass_at_k_mean,
    undecided_rate,
    where_ended,
)
from tersely.eval.metrics.adaptivity import (
    adaptation_ratio,
    allocation_curve,
    difficulty_table,
    length_difficulty_kendall,
    length_difficulty_spearman,
    token_share_easiest_half,
)
from tersely.eval.metrics.budget import (
    accuracy_at_budget,
    budget_auc,
    budget_excess,
    length_deviation,
    s1_control,
    s1_scaling,
    violation_rate,
)
from tersely.eval.metrics.majority import majority_at_k
from tersely.eval.metrics.pareto import hypervolume, pareto_front
from tersely.eval.metrics.text import first_answer_position, has_loop, marker_rate, tokens_until
from tersely.eval.metrics.thinking import (
    auc_oaa,
    f1_otb,
    outcome_efficiency,
    overthinking_envelope,
    overthinking_score,
    process_efficiency,
    redundant_tokens,
    shortest_correct,
    token_calibration,
    token_level_outcome_efficiency,
    underthinking_score,
)
from tersely.eval.metrics.tokens import (
    accuracy_efficiency_score,
    accuracy_per_kilotoken,
    budget_to_reach,
    compression_ratio,
    matched_tokens,
    token_summary,
    tokens_by_outcome,
    tokens_per_solved,
)

__all__ = [
    "accuracy_at_budget",
    "accuracy_bounds",
    "accuracy_efficiency_score",
    "accuracy_per_kilotoken",
    "adaptation_ratio",
    "allocation_curve",
    "auc_oaa",
    "budget_auc",
    "budget_excess",
    "budget_to_reach",
    "compression_ratio",
    "difficulty_table",
    "f1_otb",
    "first_answer_position",
    "g_pass_at_k",
    "has_loop",
    "hypervolume",
    "length_deviation",
    "length_difficulty_kendall",
    "length_difficulty_spearman",
    "majority_at_k",
    "marker_rate",
    "matched_tokens",
    "mean_at_n",
    "mg_pass_at_k",
    "outcome_efficiency",
    "overthinking_envelope",
    "overthinking_score",
    "pareto_front",
    "pass_at_k",
    "pass_at_k_mean",
    "process_efficiency",
    "redundant_tokens",
    "s1_control",
    "s1_scaling",
    "shortest_correct",
    "token_calibration",
    "token_level_outcome_efficiency",
    "token_share_easiest_half",
    "token_summary",
    "tokens_by_outcome",
    "tokens_per_solved",
    "tokens_until",
    "undecided_rate",
    "underthinking_score",
    "violation_rate",
    "where_ended",
]
