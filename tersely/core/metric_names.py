"""All metrics of a training run: name, unit, meaning, and source.

The trainer logs these names to `metrics.jsonl`; an external loss can add more. docs/metrics.md has the table.
tests/rl/recording/test_metric_names.py compares the list with the metrics that runs log, and that guards, controllers and
learning curves read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tersely.core.errors import ConfigError, nearest


@dataclass(frozen=True)
class Metric:
    name: str
    """A part in angle brackets is a name from the recipe."""
    unit: str
    meaning: str
    logged: str = "always"
    """Source: `always` for every run with rewards, otherwise a component, an engine or a part of the recipe."""


def _all(logged: str, rows: Sequence[tuple[str, str, str]]) -> list[Metric]:
    return [Metric(*row, logged) for row in rows]


ROLLOUTS = _all(
    "always",
    [
        ("verify/accuracy", "share of rollouts", "correct, of the rollouts with a verdict; before any filter"),
        ("verify/undecided", "share of rollouts", "the verifier reached no verdict"),
        ("verify/not_ended", "share of rollouts", "correct but truncated, so not counted as correct"),
        ("verify/no_answer", "share of rollouts", "no answer was found"),
        ("groups/mixed", "share of groups", "with correct and incorrect rollouts"),
        ("groups/all_right", "share of groups", "all decided rollouts are correct"),
        ("groups/all_wrong", "share of groups", "all decided rollouts are incorrect"),
        ("groups/kept", "share of groups", "kept by the filter"),
        ("groups/resampled", "groups", "replaced because the filter dropped them"),
        ("groups/resample_rounds", "rounds", "of resampling in this batch"),
        ("efficiency/tokens_mean", "tokens", "mean length of a completion, as sampled"),
        ("efficiency/tokens_p95", "tokens", "95th percentile of the lengths"),
        ("efficiency/cap_share", "share of the cap", "mean length over max_completion_length"),
        ("efficiency/tail_ratio", "ratio", "longest over mean length"),
        ("efficiency/tokens_correct", "tokens", "mean length of correct completions; nan without one"),
        ("efficiency/tokens_incorrect", "tokens", "mean length of incorrect completions; nan without one"),
        (
            "efficiency/tokens_per_solved",
            "tokens",
            "all tokens over the number of correct completions; nan without one",
        ),
        ("efficiency/thinking_tokens", "tokens", "mean length up to the first `</think>`"),
        ("efficiency/repetitive", "share of rollouts", "end in a loop"),
        ("efficiency/truncated", "share of rollouts", "stopped by the cap"),
        ("efficiency/well_formed", "share of rollouts", "meet the output contract"),
        ("completions/mean_length", "tokens", "mean length (TRL)"),
        ("completions/min_length", "tokens", "shortest completion (TRL)"),
        ("completions/max_length", "tokens", "longest completion (TRL)"),
        ("completions/clipped_ratio", "share of rollouts", "did not end by themselves (TRL)"),
        ("completions/mean_terminated_length", "tokens", "mean length of those that ended (TRL)"),
        ("completions/min_terminated_length", "tokens", "shortest of those that ended (TRL)"),
        ("completions/max_terminated_length", "tokens", "longest of those that ended (TRL)"),
    ],
)
FORCED = _all(
    "thinking_budget",
    [
        ("rollout/forced", "share of rollouts", "whose end of thinking was written, because the budget was used up"),
        ("rollout/forced_right", "share of rollouts", "correct, of those with a verdict; nan without one"),
    ],
)
EXITS = _all(
    "prompting s_grpo, brpo",
    [("engine/tokens", "tokens", "sampled for this batch: each shared trace once, plus the answers")],
)
REWARDS = _all(
    "always",
    [
        ("reward", "reward", "mean over the decided rollouts of the weighted sum of the terms (TRL)"),
        ("reward_std", "reward", "its standard deviation (TRL)"),
        ("frac_reward_zero_std", "share of groups", "all rewards are equal (TRL)"),
        ("rewards/<term>/mean", "reward", "mean of one term, before its weight (TRL)"),
        ("rewards/<term>/std", "reward", "its standard deviation (TRL)"),
    ],
)
UPDATE = _all(
    "always",
    [
        ("loss", "loss", "of the optimiser step (TRL)"),
        ("grad_norm", "norm", "of the gradient, before clipping (TRL)"),
        ("learning_rate", "rate", "of the step (TRL)"),
        ("epoch", "passes over the data", "done so far (TRL)"),
        ("num_tokens", "tokens", "prompts and completions since the start of the run (TRL)"),
        ("entropy", "nats per token", "of the policy that sampled, over all rows of the batch"),
        ("entropy/of_trained", "nats per token", "of the current policy, over the rows that train"),
        *((f"entropy/part_{i}", "nats per token", f"of quarter {i} of the completions") for i in range(1, 5)),
        ("entropy/correct", "nats per token", "of correct completions"),
        ("entropy/incorrect", "nats per token", "of incorrect completions"),
        ("tokens/praised_share", "share of tokens", "with an advantage above 0"),
        ("tokens/blamed_share", "share of tokens", "with an advantage below 0"),
        ("tokens/neutral_share", "share of tokens", "with an advantage of 0"),
        ("ratio/share_below_0.5", "share of tokens", "whose ratio to the old policy is below 0.5"),
        ("ratio/share_0.5_to_0.8", "share of tokens", "whose ratio is between 0.5 and 0.8"),
        ("ratio/share_0.8_to_1.25", "share of tokens", "whose ratio is between 0.8 and 1.25"),
        ("ratio/share_1.25_to_2", "share of tokens", "whose ratio is between 1.25 and 2"),
        ("ratio/share_above_2", "share of tokens", "whose ratio is above 2"),
        ("update/rows_trained", "rows", "that can move the weights in this optimiser step"),
        ("update/skipped", "0 or 1", "no row could, so the step was skipped"),
        ("update/steps_without_rows", "optimiser steps", "of this batch in which no row trains"),
    ],
)
MICRO_BATCHING = _all(
    "micro_batching",
    [
        ("update/tokens_saved", "share of tokens", "of TRL's padded tokens that no micro-batch holds"),
        ("update/rows_left_out", "share of rows", "without a signal, so left out of the update"),
        ("update/micro_batches", "micro-batches", "of this generation batch on the busiest rank"),
    ],
)
TIME = _all(
    "always",
    [
        ("step_time", "seconds", "of the optimiser step, by TRL's clock (TRL)"),
        ("time/rollout", "seconds", "of the generation batch: generating, verifying, scoring"),
        ("time/generate", "seconds", "of the engine"),
        ("time/verify", "seconds", "of the verifier, while the engine or the trainer works too"),
        ("time/verify_wait", "seconds", "that the trainer waited for the verifier"),
        ("time/score", "seconds", "of filter, reward and advantage"),
    ],
)
WHERE_NEEDED = [
    Metric(
        "time/whole_step", "seconds", "from one optimiser step to the next, saving and evaluation included", "step 2 on"
    ),
    Metric(
        "time/log_prob_pass",
        "seconds",
        "of the separate forward passes for log-probs and entropies",
        "where a pass is made",
    ),
    Metric("time/resample", "seconds", "of resampling", "max_resample_rounds"),
    Metric("groups/oversampled", "groups", "generated beyond the batch", "max_oversampling"),
    Metric("time/sync_weights", "seconds", "of copying the weights into the engine", "engine vllm, vllm_server"),
    Metric("rollout/masked", "share of rollouts", "stopped by the cap and left out of the loss", "mask_truncated"),
    Metric("trim/groups", "share of groups", "that the trim may cut", "trim dot"),
    Metric("trim/rows", "share of rollouts", "that are cut", "a trim"),
    Metric("trim/tokens", "tokens", "cut per cut rollout", "a trim"),
    Metric("trim/broken", "share of cut rollouts", "correct before and incorrect after the cut", "a trim"),
    Metric("trim/threshold", "tokens", "mean threshold of the groups that the trim may cut", "trim dot"),
    Metric("siri/cap", "tokens", "cap of the cycle", "prompting siri"),
    Metric("etr/bonus", "reward", "mean |bonus| of the correct rollouts", "reward etr"),
    Metric("short_rl/gate", "0 or 1", "the length term acts", "reward short_rl"),
    Metric("controllers/<name>", "value", "what a controller sets", "controllers"),
    Metric("verify/cache_hit_rate", "share of verdicts", "taken from the cache", "the shipped verifier"),
    Metric("verify/restarts", "workers", "restarted since the start", "the shipped verifier"),
    Metric("aux_loss", "loss", "of the router (TRL)", "models with experts"),
]
RATIOS = "losses with a ratio"
OF_LOSSES = [
    Metric("clip_ratio/low_mean", "share of tokens", "clipped at the low bound", RATIOS),
    Metric("clip_ratio/high_mean", "share of tokens", "clipped at the high bound", RATIOS),
    Metric("clip_ratio/region_mean", "share of tokens", "clipped at either bound", RATIOS),
    Metric("ratio/mean", "ratio", "mean of the current over the old policy", RATIOS),
    Metric("ratio/max_log", "nats", "largest |log-ratio|", RATIOS),
    Metric("kl", "nats per token", "from the reference model", "loss kl_penalty, window_kl, archer"),
    Metric(
        "kl/outside_windows",
        "nats per token",
        "from the reference model, outside high-entropy windows",
        "loss window_kl",
    ),
    Metric("window_kl/inside_share", "share of tokens", "inside high-entropy windows", "loss window_kl"),
    Metric("window_kl/beta", "coefficient", "of the KL, in force", "loss window_kl"),
    Metric("aligndistil/kl", "nats per token", "from the policy to the target", "loss aligndistil"),
    Metric("aligndistil/weight", "factor", "mean w of the tokens, the strength of the difference", "loss aligndistil"),
    Metric("aligndistil/distance", "0 to 2", "mean sum of |p - q| of teacher and contrast", "loss aligndistil"),
    Metric("opsdc/kl", "nats per token", "from the policy to the teacher", "loss opsdc"),
    Metric("opsdc/teacher_entropy", "nats per token", "of the teacher on the same tokens", "loss opsdc"),
    Metric("archer/high_entropy_share", "share of tokens", "treated as high entropy", "loss archer"),
    Metric("bapo/low", "ratio", "low bound found by the search", "loss bapo"),
    Metric("bapo/high", "ratio", "high bound found by the search", "loss bapo"),
    Metric("clip_cov/dropped_share", "share of tokens", "dropped for their covariance", "loss clip_cov"),
    Metric("dppo/capped_share", "share of tokens", "whose weight is at ratio_cap", "loss dppo"),
    Metric("gmpo/rho_mean", "ratio", "geometric mean ratio of a sequence", "loss gmpo"),
    Metric("hapo/high_entropy_share", "share of tokens", "above the pivot entropy", "loss hapo"),
    Metric("hapo/rescaled_share", "share of tokens", "whose advantage was scaled", "loss hapo"),
    Metric("hapo/signal_mean", "-1 to 1", "mean position of a token's entropy", "loss hapo"),
    Metric("high_entropy_mask/kept_share", "share of tokens", "that train", "loss high_entropy_mask"),
    Metric("kl_cov/held_share", "share of tokens", "held at the old policy", "loss kl_cov"),
    Metric("kl_cov/held_log_ratio", "nats", "mean |log-ratio| of these", "loss kl_cov"),
    Metric("sampler/weight_mean", "ratio", "mean weight of the correction", "loss sampler_correction"),
    Metric(
        "sampler/masked_share", "share of tokens", "masked, as their weight is out of bounds", "loss sampler_correction"
    ),
    Metric(
        "sampler/truncated_share", "share of tokens", "whose weight was cut to the bounds", "loss sampler_correction"
    ),
    Metric("sapo/gate_mean", "0 to 1", "mean weight of a token's gradient", "loss sapo"),
    Metric("tea_rl/strength_mean", "factor", "mean strength of the bonus", "loss tea_rl"),
    Metric("tea_rl/bonus_mean", "nats per token", "mean entropy bonus", "loss tea_rl"),
    Metric(
        "clip_ratio/low_min",
        "share of tokens",
        "clipped at the low bound, smallest of the ranks (TRL)",
        "loss_type luspo",
    ),
    Metric(
        "clip_ratio/high_max",
        "share of tokens",
        "clipped at the high bound, largest of the ranks (TRL)",
        "loss_type luspo",
    ),
    Metric("vespo/phi_seq_mean", "weight", "mean weight of a sequence (TRL)", "loss_type vespo"),
]
TEMPERATURE = _all(
    "sampling hapo_temperature",
    [
        ("temperature/mean", "temperature", "mean of the sampled tokens"),
        ("temperature/min", "temperature", "smallest"),
        ("temperature/max", "temperature", "largest"),
        ("temperature/hotter_share", "share of tokens", "sampled above the base temperature"),
    ],
)
REFERENCE = _all(
    "rewards that read the reference answer",
    [
        ("reference/score", "probability", "mean over the reference answer's tokens, after the reasoning"),
        ("reference/base", "probability", "the same without reasoning, by the initial policy"),
        ("reference/logp", "nats", "summed log-probability of the reference answer"),
    ],
)
MISMATCH = _all(
    "engine vllm, vllm_server",
    [
        ("mismatch/mean", "nats per token", "mean |log-prob difference| of engine and trainer"),
        ("mismatch/max", "nats", "largest |log-prob difference|"),
        ("mismatch/ratio", "ratio", "mean of trainer over engine probability"),
        ("mismatch/tokens", "tokens", "compared"),
    ],
)
SERVERS = _all(
    "engine vllm_server",
    [
        ("time/engine_idle", "seconds", "that a server had no request, mean over the servers"),
        ("engine/idle_share", "share of the time", "the same, as a share"),
        ("engine/smallest_share", "share of completions", "of the server with the fewest"),
    ],
)
HELD_OUT = _all(
    "evaluation",
    [
        ("eval/accuracy", "share of samples", "correct on the held-out set"),
        ("eval/accuracy_ended", "share of samples", "correct and ended by itself"),
        ("eval/accuracy_se", "share of samples", "standard error of the accuracy"),
        ("eval/accuracy_at_budget", "share of samples", "correct within `eval/budget` tokens"),
        ("eval/budget", "tokens", "the budget"),
        ("eval/tokens_mean", "tokens", "mean length"),
        ("eval/tokens_p95", "tokens", "95th percentile of the lengths"),
        ("eval/truncated", "share of samples", "stopped by the cap"),
        ("eval/undecided", "share of samples", "without a verdict"),
        ("eval/seconds", "seconds", "of the evaluation"),
        ("eval/best", "0 or 1", "the best so far"),
    ],
)
JUDGE = _all(
    "verifier with a judge",
    [
        ("judge/rule_no", "answers", "that the rules call incorrect, since the start"),
        ("judge/calls", "answers", "shown to the judge"),
        ("judge/requests", "requests", "sent"),
        ("judge/cache_hits", "requests", "answered by the cache"),
        ("judge/rescued", "answers", "that the judge calls correct"),
        ("judge/rescued_share", "share of answers", "rescued, of those that the rules call incorrect"),
        ("judge/guard_refused", "answers", "that the input filter refused to show"),
        ("judge/refused_per_call", "ratio", "refused over shown"),
        ("judge/restated", "answers", "that only restate the problem"),
        ("judge/invalid", "answers", "without a readable verdict of the judge"),
        ("judge/unreadable", "responses", "without readable text"),
        ("judge/retries", "requests", "sent again"),
        ("judge/failed", "requests", "given up"),
        ("judge/deadline", "requests", "stopped by the deadline"),
        ("judge/no_answer", "requests", "without a response"),
        ("judge/http_<status>", "responses", "with this HTTP error"),
        ("judge/seconds", "seconds", "waited for the judge, summed over requests"),
        ("judge/tokens_in", "tokens", "read by the judge"),
        ("judge/tokens_out", "tokens", "written by the judge"),
        ("judge/cost", "currency of the prices", "spent"),
    ],
)
COLD_START = _all(
    "cold start", [("mean_token_accuracy", "share of tokens", "whose likeliest token is the target (TRL)")]
)
LAST_LINE = _all(
    "last line",
    [
        ("train_loss", "loss", "mean of the run (TRL)"),
        ("train_runtime", "seconds", "of the run (TRL)"),
        ("train_samples_per_second", "1/second", "rollouts (TRL)"),
        ("train_steps_per_second", "1/second", "optimiser steps (TRL)"),
        ("total_flos", "floating-point operations", "estimate (TRL)"),
    ],
)
METRICS: dict[str, Metric] = {
    metric.name: metric
    for part in (
        *(
            ROLLOUTS,
            FORCED,
            EXITS,
            REWARDS,
            UPDATE,
            MICRO_BATCHING,
            TIME,
            WHERE_NEEDED,
            OF_LOSSES,
            TEMPERATURE,
            REFERENCE,
            MISMATCH,
        ),
        *(SERVERS, HELD_OUT, JUDGE, COLD_START, LAST_LINE),
    )
    for metric in part
}
"""All metrics by name, in the order of the docs."""


def find(name: str) -> Metric:
    """The metric of a logged name; raises `ConfigError` for an unknown name."""
    if name in METRICS:
        return METRICS[name]
    for pattern, metric in METRICS.items():
        parts = re.split(r"<\w+>", pattern)
        if len(parts) > 1 and re.fullmatch(".+".join(map(re.escape, parts)), name):
            return metric
    raise ConfigError(f"metric: got {name!r}; {nearest(name, METRICS)}. Add it to core/metric_names.py")
