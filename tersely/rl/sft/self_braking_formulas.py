"""SBT, Self-Braking Tuning: metrics for the re-checking in a trace, and the positions to cut it.

Paper: arXiv 2505.14604 and its released code.
    eta   = first_correct_step / total_steps                                      reasoning efficiency ratio
    kappa = sum over markers (occurrences * marker_tokens[marker]) / total_tokens overthinking marker ratio
    score = beta kappa + (1 - beta) (1 - eta)                                     overthinking above 0.2
    dynamic cut: from end = FS on, eta = FS / end, kappa over steps FS+1..end; kept = first end with score >= tau1,
    masked = first end from there with score > tau2
Symbols: steps numbered from 1, blank-line separated (the split rule is from secondary sources: verify); tokens.
Degenerate: no correct step (None) -> eta None. No tokens -> kappa 0. tau1 never reached: unchanged, no brake; tau2 never
    reached: masked runs to the last step.
Pitfalls: with `substring` each marker is counted on its own, as released: "Hmm" again inside "Hmmm", "But" inside "Button".
    beta = 0.1 and a small kappa make the score close to 0.9 (1 - eta).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

TOLERANCE = 1e-12
"""Tolerance of comparisons with the thresholds, for rounding."""
OVERTHINKING = 0.2
"""A trace with a score above this is cut."""
BRAKE_EXACT = "Wait, I've gotten the same answer multiple times, time to end the thinking."
BRAKE_DYNAMIC = "Wait, my answer is too verbose, let me answer it more concisely."
MARKERS = (
    *("Another", "Backtrack", "But", "Check", "Going back", "Hmm", "Hmmm", "However", "Hold on", "Instead of"),
    *("Just to be thorough", "Just to make sure", "Let me check", "Let me just double-check", "Let me try another"),
    *("Let me verify", "Maybe I can consider", "Maybe I should consider", "Might", "Not sure", "Perhaps", "Recheck"),
    *("Retry", "Trace back", "Wait"),
)


def reasoning_efficiency_ratio(first_correct_step: int | None, total_steps: int) -> float | None:
    """eta in (0, 1]; None if no step is correct. ValueError for a step outside 1..total_steps."""
    if total_steps < 1:
        raise ValueError(f"total_steps: got {total_steps}; expected at least 1")
    if first_correct_step is None:
        return None
    if not 1 <= first_correct_step <= total_steps:
        raise ValueError(f"first_correct_step: got {first_correct_step}; expected in 1..{total_steps}")
    return first_correct_step / total_steps


def overthinking_marker_ratio(
    text: str,
    total_tokens: int,
    marker_tokens: Mapping[str, int],
    how: Literal["substring", "word"] = "substring",
) -> float:
    """kappa: marker tokens over all tokens; 0 for no tokens. ValueError for a negative count or an unknown `how`."""
    if total_tokens < 0:
        raise ValueError(f"total_tokens: got {total_tokens}; expected at least 0")
    counts = count_markers(text, tuple(marker_tokens), how)
    if total_tokens == 0:
        return 0.0
    return sum(counts[marker] * tokens for marker, tokens in marker_tokens.items()) / total_tokens


def count_markers(text: str, markers: Sequence[str], how: str = "substring") -> dict[str, int]:
    """Occurrences of each marker: separately (`substring`), or in one pass over whole words, longest first."""
    if how == "substring":
        lowered = text.lower()
        return {marker: lowered.count(marker.lower()) if marker else 0 for marker in markers}
    if how != "word":
        raise ValueError(f"how: got {how!r}; expected 'substring' or 'word'")
    counts = dict.fromkeys(markers, 0)
    names = {marker.lower(): marker for marker in markers if marker}
    if names:
        choices = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        for match in re.finditer(rf"(?<!\w)(?:{choices})(?!\w)", text.lower()):
            counts[names[match.group()]] += 1
    return counts


def overthink_score(marker_ratio: float, efficiency_ratio: float, beta: float = 0.1) -> float:
    """beta kappa + (1 - beta)(1 - eta). ValueError for beta outside [0, 1]."""
    if not 0 <= beta <= 1:
        raise ValueError(f"beta: got {beta}; expected in [0, 1]")
    return beta * marker_ratio + (1 - beta) * (1 - efficiency_ratio)


def dynamic_cut(
    first_correct_step: int,
    step_tokens: Sequence[int],
    step_marker_tokens: Sequence[int],
    beta: float = 0.1,
    tau1: float = 0.2,
    tau2: float = 0.25,
) -> tuple[int, int, bool]:
    """(kept, masked, brake): keep steps 1..kept, mask kept+1..masked in the loss, add the braking sentence iff `brake`.

    `step_tokens[i]` and `step_marker_tokens[i]` are the tokens, and the marker tokens, of step i + 1.
    """
    total = len(step_tokens)
    if len(step_marker_tokens) != total:
        raise ValueError(f"step_marker_tokens: got {len(step_marker_tokens)} entries; expected {total}, as step_tokens")
    reasoning_efficiency_ratio(first_correct_step, total)
    kept = None
    added = markers = 0
    for end in range(first_correct_step, total + 1):
        if end > first_correct_step:
            added += step_tokens[end - 1]
            markers += step_marker_tokens[end - 1]
        score = overthink_score(markers / added if added else 0.0, first_correct_step / end, beta)
        if kept is None and score >= tau1 - TOLERANCE:
            kept = end
        if kept is not None and score > tau2 + TOLERANCE:
            return kept, end, True
    return (total, total, False) if kept is None else (kept, total, True)


def exact_cut(solution_ends: Sequence[int], total_steps: int) -> tuple[int, bool]:
    """(kept, brake) of SBT-E: steps up to the end of the second solution; unchanged where there are fewer than two."""
    return (solution_ends[1], True) if len(solution_ends) > 1 else (total_steps, False)


def first_sentences(text: str, count: int = 2) -> str:
    """The first `count` sentences of a text: the span that SBT-E masks, taken from the third solution."""
    ends = [match.end() for match in re.finditer(r"[.!?]+(?=\s|$)|\n", text)]
    return text if len(ends) < count else text[: ends[count - 1]]
