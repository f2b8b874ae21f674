"""Glossary of a report page, one sentence per term; terms that the page does not use are left out."""

from __future__ import annotations

from typing import Any

from tersely.data.benchmarks import benchmark_names, find_benchmark

TERMS: tuple[tuple[str, str], ...] = (
    ("accuracy", "share of correct samples: the mean over a problem's samples, then over problems."),
    ("tokens", "mean tokens of a sample, thinking and answer, everything generated or injected."),
    ("median, p95", "over all samples: half of them, and 95 % of them, are at most that long."),
    ("thinking, answer", "mean tokens up to the end of thinking, and after it."),
    ("truncated", "share of samples that the cap on new tokens stopped."),
    (
        "if ended",
        "accuracy if an answer counts only when its completion ended by itself, as in training. `accuracy`, and everything "
        "computed from it, also counts answers in truncated samples.",
    ),
    (
        "undecided",
        "share of samples that the verifier could not decide; in brackets the accuracy if all of them were incorrect, and if "
        "all were correct.",
    ),
    ("tokens per solved", "all tokens over the number of correct samples: the cost of one success, failures included."),
    (
        "AES",
        "accuracy efficiency score: the relative saving of tokens, plus 3 times a relative gain of accuracy or minus 5 times a "
        "relative loss. The base scores 0.",
    ),
    (
        "adaptation ratio",
        "mean tokens on the hardest third of the problems over those on the easiest third; 1 is no adaptation to difficulty.",
    ),
    ("easiest half", "share of all tokens that is spent on the easier half of the problems."),
    ("length and difficulty", "Spearman correlation of a problem's mean tokens with its difficulty."),
    ("difficulty", "1 minus the solve rate of the reference, which is the base."),
    (
        "first correct",
        "place at which a correct sample first states its answer, as a share of its tokens; the rest is redundant.",
    ),
    (
        "budget area",
        "area under accuracy at a token budget, over doublings of the budget; 1 is correct at every budget.",
    ),
    (
        "redundant",
        "tokens of a correct sample after its first correct answer, as a share of its tokens; samples whose answer is not "
        "found in the text are left out.",
    ),
    (
        "waste",
        "mean tokens of a run's correct samples above the shortest correct answer of any run here to the same problem.",
    ),
    (
        "segments",
        "stretches of the thinking between empty lines, or lines where it has none; from the samples of `markers`.",
    ),
    ("markers", "words of reflection (wait, however, ...) per 1,000 tokens, from up to 100 samples."),
    ("loops", "share of these samples that repeat ten words ten times or more."),
    ("outcome efficiency", "tokens up to the first correct statement over all tokens; incorrect samples count 0."),
    ("underthinking", "share of an incorrect sample's tokens that follow its first correct thought."),
    ("envelope", "longest minus shortest sample of a problem, mean over problems."),
    ("calibration", "slope of log tokens over the log of the shortest correct answer; 1 is in proportion to the need."),
    ("AUC-OAA", "area under accuracy against thinking tokens, up to 1,000 tokens (OptimalThinkingBench)."),
    ("pass@k", "chance that at least one of k samples is correct, on the same problems for every k."),
    ("maj@k", "chance that the most frequent answer of k samples is correct, ties shared."),
    ("saving", "1 minus the run's tokens over the base's, on the problems of that difficulty."),
    (
        "dominates",
        "no more tokens and no less accuracy than the base, one of them strictly; probability over problems.",
    ),
    (
        "not worse",
        "the data exclude (95 %) a loss of accuracy above the margin. Undecided means that there are too few problems to "
        "decide.",
    ),
    ("p (Holm)", "chance of such a difference without an effect, corrected for all comparisons of the page."),
    (
        "hypervolume",
        "area between the best runs and a reference in the plane of accuracy and doublings of tokens; more is better.",
    ),
    (
        "off the request, beyond it",
        "deviation from the requested tokens, and share of samples that exceed them.",
    ),
)


def glossary(data: dict[str, Any]) -> list[tuple[str, str]]:
    """(term, meaning) for the terms on this page."""
    entries = [entry for run in data["runs"] for entry in run["benchmarks"].values()]
    shown = {
        "off the request, beyond it": any(entry["adherence"] for entry in entries),
        "hypervolume": len(data["runs"]) > 1 and any(volume["all"] for volume in data["hypervolume"].values()),
        "not worse": bool(data["comparisons"]),
        "p (Holm)": bool(data["comparisons"]),
        "dominates": bool(data["comparisons"]),
        "pass@k": any(entry["pass_at"]["4"] is not None for entry in entries),
        "maj@k": any(entry["majority_at"]["4"] is not None for entry in entries),
    }
    names = dict.fromkeys(name for run in data["runs"] for name in run["benchmarks"])
    pitfalls = {name: find_benchmark(name).source.pitfalls for name in names if name in benchmark_names()}
    notes = [(f"pitfalls of {name}", "; ".join(lines)) for name, lines in pitfalls.items() if lines]
    return [(term, text) for term, text in TERMS if entries and shown.get(term, True)] + notes
