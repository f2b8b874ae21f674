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
        ("verify/accuracy", "share of rollouts", "correct rollouts, out of those with a verdict; before any filter"),
        ("verify/undecided", "share of rollouts", "rollouts without a verdict"),
        (
            "verify/not_ended",
            "share of rollouts",
            "rollouts with a correct answer that count as incorrect because they were truncated",
        ),
        ("verify/no_answer", "share of rollouts", "rollouts in which the verifier found no answer"),
        ("groups/mixed", "share of groups", "groups with correct and incorrect rollouts"),
        ("groups/all_correct", "share of groups", "groups whose decided rollouts are all correct"),
        ("groups/all_incorrect", "share of groups", "groups whose decided rollouts are all incorrect"),
        ("groups/kept", "share of groups", "groups that the filter keeps"),
        ("groups/resampled", "groups", "groups that were filtered and replaced"),
        ("groups/resample_rounds", "rounds", "rounds of resampling in this batch"),
        ("efficiency/tokens_mean", "tokens", "mean length of a completion, as sampled"),
        ("efficiency/tokens_p95", "tokens", "95th percentile of the lengths"),
        ("efficiency/cap_share", "share of the cap", "mean length divided by max_completion_length"),
        ("efficiency/tail_ratio", "ratio", "longest length divided by the mean length"),
        ("efficiency/tokens_correct", "tokens", "mean length of correct completions; nan without one"),
        ("efficiency/tokens_incorrect", "tokens", "mean length of incorrect completions; nan without one"),
        (
            "efficiency/tokens_per_solved",
            "tokens",
            "all tokens divided by the number of correct completions; nan without one",
        ),
        ("efficiency/thinking_tokens", "tokens", "mean length up to the first `</think>`"),
        ("efficiency/repetitive", "share of rollouts", "rollouts that end in a loop"),
        ("efficiency/truncated", "share of rollouts", "rollouts stopped by the cap"),
        ("efficiency/well_formed", "share of rollouts", "rollouts that meet the output contract"),
        ("completions/mean_length", "tokens", "mean length (TRL)"),
        ("completions/min_length", "tokens", "shortest completion (TRL)"),
        ("completions/max_length", "tokens", "longest completion (TRL)"),
        ("completions/clipped_ratio", "share of rollouts", "completions that did not end by themselves (TRL)"),
        (
            "completions/mean_terminated_length",
            "tokens",
            "mean length of the completions that ended by themselves (TRL)",
        ),
        ("completions/min_terminated_length", "tokens", "shortest completion that ended by itself (TRL)"),
        ("completions/max_terminated_length", "tokens", "longest completion that ended by itself (TRL)"),
    ],
)
FORCED = _all(
    "thinking_budget",
    [
        ("rollout/forced", "share of rollouts", "rollouts whose thinking was closed because the budget was used up"),
        (
            "rollout/forced_right",
            "share of rollouts",
            "correct ones among these, out of those with a verdict; nan without one",
        ),
    ],
)
EXITS = _all(
    "prompting s_grpo, brpo",
    [("engine/tokens", "tokens", "tokens sampled for this batch: each shared trace once, plus the answers")],
)
REWARDS = _all(
    "always",
    [
        ("reward", "reward", "mean over the decided rollouts of the weighted sum of the terms (TRL)"),
        ("reward_std", "reward", "standard deviation of that sum (TRL)"),
        ("frac_reward_zero_std", "share of groups", "groups whose rewards are all equal (TRL)"),
        ("rewards/<term>/mean", "reward", "mean of one term, before its weight (TRL)"),
        ("rewards/<term>/std", "reward", "standard deviation of one term, before its weight (TRL)"),
    ],
)
UPDATE = _all(
    "always",
    [
        ("loss", "loss", "loss of the optimizer step (TRL)"),
        ("grad_norm", "norm", "norm of the gradient, before clipping (TRL)"),
        ("learning_rate", "rate", "learning rate of the step (TRL)"),
        ("epoch", "passes over the data", "passes over the data so far (TRL)"),
        ("num_tokens", "tokens", "prompt and completion tokens since the start of the run (TRL)"),
        ("entropy", "nats per token", "entropy of the policy that sampled, over all rows of the batch"),
        ("entropy/of_trained", "nats per token", "entropy of the current policy, over the trained rows"),
        *((f"entropy/part_{i}", "nats per token", f"entropy over quarter {i} of each completion") for i in range(1, 5)),
        ("entropy/correct", "nats per token", "entropy over correct completions"),
        ("entropy/incorrect", "nats per token", "entropy over incorrect completions"),
        ("tokens/positive_share", "share of tokens", "tokens with an advantage above 0"),
        ("tokens/negative_share", "share of tokens", "tokens with an advantage below 0"),
        ("tokens/zero_share", "share of tokens", "tokens with an advantage of 0"),
        ("ratio/share_below_0.5", "share of tokens", "tokens whose ratio to the old policy is below 0.5"),
        ("ratio/share_0.5_to_0.8", "share of tokens", "tokens whose ratio is between 0.5 and 0.8"),
        ("ratio/share_0.8_to_1.25", "share of tokens", "tokens whose ratio is between 0.8 and 1.25"),
        ("ratio/share_1.25_to_2", "share of tokens", "tokens whose ratio is between 1.25 and 2"),
        ("ratio/share_above_2", "share of tokens", "tokens whose ratio is above 2"),
        ("update/rows_trained", "rows", "rows that can change the weights in this optimizer step"),
        ("update/skipped", "0 or 1", "1 if the step was skipped because no row can change the weights"),
        (
            "update/steps_without_rows",
            "optimizer steps",
            "optimizer steps of this generation batch in which no row trains",
        ),
    ],
)
MICRO_BATCHING = _all(
    "micro_batching",
    [
        (
            "update/tokens_saved",
            "share of tokens",
            "TRL's padded tokens that token-balanced micro-batches do not compute",
        ),
        ("update/rows_left_out", "share of rows", "rows without a signal, which the update leaves out"),
        ("update/micro_batches", "micro-batches", "micro-batches of this generation batch on the rank with most"),
    ],
)
TIME = _all(
    "always",
    [
        ("step_time", "seconds", "duration of the optimizer step, measured by TRL (TRL)"),
        ("time/rollout", "seconds", "generating, verifying and scoring the generation batch"),
        ("time/generate", "seconds", "time in the engine"),
        ("time/verify", "seconds", "time in the verifier, which overlaps with the engine and the trainer"),
        ("time/verify_wait", "seconds", "time that the trainer waited for the verifier"),
        ("time/score", "seconds", "time in filter, reward and advantage"),
    ],
)
WHERE_NEEDED = [
    Metric(
        "time/whole_step",
        "seconds",
        "from one optimizer step to the next, including checkpoints and evaluation",
        "step 2 on",
    ),
    Metric(
        "time/log_prob_pass",
        "seconds",
        "separate forward passes for log-probs and entropies",
        "where a pass is made",
    ),
    Metric("time/resample", "seconds", "time spent on resampling", "max_resample_rounds"),
    Metric("groups/oversampled", "groups", "groups generated beyond the batch", "max_oversampling"),
    Metric("time/sync_weights", "seconds", "copying the weights into the engine", "engine vllm, vllm_server"),
    Metric("rollout/masked", "share of rollouts", "truncated rollouts that are left out of the loss", "mask_truncated"),
    Metric("trim/groups", "share of groups", "groups that the trim may cut", "trim dot"),
    Metric("trim/rows", "share of rollouts", "rollouts that are cut", "a trim"),
    Metric("trim/tokens", "tokens", "mean tokens removed per cut rollout", "a trim"),
    Metric(
        "trim/broken",
        "share of cut rollouts",
        "rollouts that are correct before the cut and incorrect after it",
        "a trim",
    ),
    Metric("trim/threshold", "tokens", "mean threshold of the groups that the trim may cut", "trim dot"),
    Metric("siri/cap", "tokens", "current cap of the cycle", "prompting siri"),
    Metric("etr/bonus", "reward", "mean |bonus| of the correct rollouts", "reward etr"),
    Metric("short_rl/gate", "0 or 1", "1 if the length term is active", "reward short_rl"),
    Metric("controllers/<name>", "value", "value that the controller sets", "controllers"),
    Metric("verify/cache_hit_rate", "share of verdicts", "verdicts taken from the cache", "the shipped verifier"),
    Metric("verify/restarts", "workers", "worker restarts since the start of the run", "the shipped verifier"),
    Metric("aux_loss", "loss", "load-balancing loss of the router (TRL)", "models with experts"),
]
RATIOS = "losses with a ratio"
OF_LOSSES = [
    Metric("clip_ratio/low_mean", "share of tokens", "tokens clipped at the low bound", RATIOS),
    Metric("clip_ratio/high_mean", "share of tokens", "tokens clipped at the high bound", RATIOS),
    Metric("clip_ratio/region_mean", "share of tokens", "tokens clipped at either bound", RATIOS),
    Metric("ratio/mean", "ratio", "mean ratio of the current to the old policy", RATIOS),
    Metric("ratio/max_log", "nats", "largest |log-ratio|", RATIOS),
    Metric("kl", "nats per token", "KL from the reference model", "loss kl_penalty, window_kl, archer"),
    Metric(
        "kl/outside_windows",
        "nats per token",
        "KL from the reference model, outside high-entropy windows",
        "loss window_kl",
    ),
    Metric("window_kl/inside_share", "share of tokens", "tokens inside high-entropy windows", "loss window_kl"),
    Metric("window_kl/beta", "coefficient", "current coefficient of the KL", "loss window_kl"),
    Metric("aligndistil/kl", "nats per token", "KL from the policy to the target", "loss aligndistil"),
    Metric(
        "aligndistil/weight", "factor", "mean w over the tokens, the strength of the difference", "loss aligndistil"
    ),
    Metric("aligndistil/distance", "0 to 2", "mean sum of |p - q| between teacher and contrast", "loss aligndistil"),
    Metric("opsdc/kl", "nats per token", "KL from the policy to the teacher", "loss opsdc"),
    Metric("opsdc/teacher_entropy", "nats per token", "entropy of the teacher on the same tokens", "loss opsdc"),
    Metric("archer/high_entropy_share", "share of tokens", "tokens treated as high entropy", "loss archer"),
    Metric("bapo/low", "ratio", "low bound found by the search", "loss bapo"),
    Metric("bapo/high", "ratio", "high bound found by the search", "loss bapo"),
    Metric("clip_cov/dropped_share", "share of tokens", "tokens excluded because of their covariance", "loss clip_cov"),
    Metric("dppo/capped_share", "share of tokens", "tokens whose weight is at ratio_cap", "loss dppo"),
    Metric("gmpo/rho_mean", "ratio", "geometric mean ratio of a sequence, averaged over the tokens", "loss gmpo"),
    Metric("hapo/high_entropy_share", "share of tokens", "tokens above the pivot entropy", "loss hapo"),
    Metric("hapo/rescaled_share", "share of tokens", "tokens whose advantage was scaled", "loss hapo"),
    Metric("hapo/signal_mean", "-1 to 1", "mean position of a token's entropy", "loss hapo"),
    Metric("high_entropy_mask/kept_share", "share of tokens", "tokens that the mask keeps", "loss high_entropy_mask"),
    Metric("kl_cov/held_share", "share of tokens", "tokens with the KL-Cov penalty", "loss kl_cov"),
    Metric("kl_cov/held_log_ratio", "nats", "mean |log-ratio| of these tokens", "loss kl_cov"),
    Metric("sampler/weight_mean", "ratio", "mean weight of the correction", "loss sampler_correction"),
    Metric(
        "sampler/masked_share",
        "share of tokens",
        "tokens masked because their weight is out of bounds",
        "loss sampler_correction",
    ),
    Metric(
        "sampler/truncated_share",
        "share of tokens",
        "tokens whose weight was clipped to the bounds",
        "loss sampler_correction",
    ),
    Metric("sapo/gate_mean", "0 to 1", "mean weight of a token's gradient", "loss sapo"),
    Metric("tea_rl/strength_mean", "factor", "mean strength of the bonus", "loss tea_rl"),
    Metric("tea_rl/bonus_mean", "nats per token", "mean entropy bonus", "loss tea_rl"),
    Metric(
        "clip_ratio/low_min",
        "share of tokens",
        "tokens clipped at the low bound, minimum over ranks (TRL)",
        "loss_type luspo",
    ),
    Metric(
        "clip_ratio/high_max",
        "share of tokens",
        "tokens clipped at the high bound, maximum over ranks (TRL)",
        "loss_type luspo",
    ),
    Metric("vespo/phi_seq_mean", "weight", "mean weight of a sequence (TRL)", "loss_type vespo"),
]
TEMPERATURE = _all(
    "sampling hapo_temperature",
    [
        ("temperature/mean", "temperature", "mean temperature of the sampled tokens"),
        ("temperature/min", "temperature", "lowest temperature of a sampled token"),
        ("temperature/max", "temperature", "highest temperature of a sampled token"),
        ("temperature/hotter_share", "share of tokens", "tokens sampled above the base temperature"),
    ],
)
REFERENCE = _all(
    "rewards that read the reference answer",
    [
        ("reference/score", "probability", "mean probability of the reference answer's tokens, after the reasoning"),
        ("reference/base", "probability", "the same without reasoning, under the initial policy"),
        ("reference/logp", "nats", "summed log-probability of the reference answer"),
    ],
)
MISMATCH = _all(
    "engine vllm, vllm_server",
    [
        ("mismatch/mean", "nats per token", "mean |log-prob difference| between engine and trainer"),
        ("mismatch/max", "nats", "largest |log-prob difference| between engine and trainer"),
        ("mismatch/ratio", "ratio", "mean of trainer probability / engine probability"),
        ("mismatch/tokens", "tokens", "tokens compared"),
    ],
)
SERVERS = _all(
    "engine vllm_server",
    [
        ("time/engine_idle", "seconds", "time that a server had no request, mean over the servers"),
        ("engine/idle_share", "share of the time", "the same as a share of the generation time"),
        ("engine/smallest_share", "share of completions", "completions from the server that returned fewest"),
    ],
)
HELD_OUT = _all(
    "evaluation",
    [
        ("eval/accuracy", "share of samples", "correct samples of the held-out set, out of those with a verdict"),
        ("eval/accuracy_ended", "share of samples", "correct samples that ended by themselves"),
        ("eval/accuracy_se", "share of samples", "standard error of the accuracy"),
        ("eval/accuracy_at_budget", "share of samples", "correct samples of at most `eval/budget` tokens"),
        ("eval/budget", "tokens", "token budget of `eval/accuracy_at_budget`"),
        ("eval/tokens_mean", "tokens", "mean length"),
        ("eval/tokens_p95", "tokens", "95th percentile of the lengths"),
        ("eval/truncated", "share of samples", "samples stopped by the cap"),
        ("eval/undecided", "share of samples", "samples without a verdict"),
        ("eval/seconds", "seconds", "duration of the evaluation"),
        ("eval/best", "0 or 1", "1 if this is the best evaluation so far"),
    ],
)
JUDGE = _all(
    "verifier with a judge",
    [
        ("judge/rule_no", "answers", "answers that the rules call incorrect, since the start"),
        ("judge/calls", "answers", "answers passed to the judge"),
        ("judge/requests", "requests", "requests sent"),
        ("judge/cache_hits", "requests", "requests answered from the cache"),
        ("judge/rescued", "answers", "answers that the judge calls correct"),
        (
            "judge/rescued_share",
            "share of answers",
            "answers that the judge calls correct, out of those that the rules call incorrect",
        ),
        ("judge/guard_refused", "answers", "answers that the input filter blocked"),
        ("judge/refused_per_call", "ratio", "blocked answers divided by answers passed to the judge"),
        ("judge/restated", "answers", "answers that only restate the problem"),
        ("judge/invalid", "answers", "answers on which the judge gave no verdict"),
        ("judge/unreadable", "responses", "responses of the judge without a readable verdict"),
        ("judge/retries", "requests", "requests sent again"),
        ("judge/failed", "requests", "requests given up after an error"),
        ("judge/deadline", "requests", "requests stopped by the deadline"),
        ("judge/malformed", "responses", "responses that are not in the format of the API"),
        ("judge/no_answer", "requests", "requests without a response"),
        ("judge/http_<status>", "responses", "responses with this HTTP error"),
        ("judge/seconds", "seconds", "time spent waiting for the judge, summed over requests"),
        ("judge/tokens_in", "tokens", "tokens that the judge read"),
        ("judge/tokens_out", "tokens", "tokens that the judge wrote"),
        ("judge/cost", "currency of the prices", "cost so far"),
    ],
)
COLD_START = _all(
    "cold start",
    [("mean_token_accuracy", "share of tokens", "tokens whose most likely prediction is the target (TRL)")],
)
LAST_LINE = _all(
    "last line",
    [
        ("train_loss", "loss", "mean loss of the run (TRL)"),
        ("train_runtime", "seconds", "duration of the run (TRL)"),
        ("train_samples_per_second", "1/second", "rollouts per second (TRL)"),
        ("train_steps_per_second", "1/second", "optimizer steps per second (TRL)"),
        ("total_flos", "floating-point operations", "estimated compute of the run (TRL)"),
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
