"""Self-Braking Tuning as a rewrite: cuts a model's traces where re-checking starts, and adds a braking sentence.

Paper: arXiv 2505.14604; metrics and cuts are in `self_braking_formulas.py`. The paper uses a language model
to find the step that first states the answer; here the statement of the attempt's correct answer is searched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tersely.core.errors import ConfigError, require_choice, require_range
from tersely.eval.metrics.text import first_answer_position
from tersely.rewards.verify.extract.boxes import last_box
from tersely.rl.sft import self_braking_formulas as formulas
from tersely.rl.sft.examples import Attempt, Count, Example, Rewrite, Span


@dataclass(frozen=True)
class SBT(Rewrite):
    form: Literal["exact", "dynamic"] = "exact"
    order: Literal["kept_masked_brake", "kept_brake_masked"] = "kept_masked_brake"
    """`kept_brake_masked` is the paper's order; the default shows the model the start of redundancy before the brake."""
    beta: float = 0.1
    tau1: float = 0.2
    tau2: float = 0.25
    separator: str = "\n\n"
    """Separator of steps; the rule of blank lines is from secondary sources: verify."""
    brake: str | None = None
    """The braking sentence; null for the paper's."""
    unstated: Literal["omit", "keep"] = "omit"
    """A trace whose thought never states the answer, so that nothing can be cut: omit it, or keep it unchanged."""

    def __post_init__(self) -> None:
        require_choice("rewrite sbt.form", self.form, ("exact", "dynamic"))
        require_choice("rewrite sbt.order", self.order, ("kept_masked_brake", "kept_brake_masked"))
        require_range("rewrite sbt.beta", self.beta, at_least=0, at_most=1)
        require_range("rewrite sbt.tau1", self.tau1, at_least=0)
        require_range("rewrite sbt.tau2", self.tau2, at_least=self.tau1)
        require_choice("rewrite sbt.unstated", self.unstated, ("omit", "keep"))
        if not self.separator:
            raise ConfigError("rewrite sbt.separator: got ''; expected the text between two steps")
        if self.brake is not None and not self.brake.strip():
            raise ConfigError(f"rewrite sbt.brake: got {self.brake!r}; expected a sentence, or null for the paper's")

    def __call__(self, attempts: Sequence[Attempt], count: Count) -> list[Example]:
        """One example per trace; traces that are not closed are omitted, and those of `unstated`."""
        found = [self._example(attempt, count) for attempt in attempts]
        return [example for example in found if example is not None]

    def _example(self, attempt: Attempt, count: Count) -> Example | None:
        thought, closed, rest = attempt.text.partition("</think>")
        answer = last_box(rest) or rest.strip()
        steps = thought.rstrip().split(self.separator)
        stating = [i for i, step in enumerate(steps, start=1) if first_answer_position(step, answer) is not None]
        if not closed or not answer:
            return None
        if not stating:
            return Example("unstated", [Span(attempt.text)]) if self.unstated == "keep" else None
        markers = {marker: count(marker) for marker in formulas.MARKERS}
        ratio = formulas.overthinking_marker_ratio(thought, count(thought), markers)
        efficiency = stating[0] / len(steps)
        if formulas.overthink_score(ratio, efficiency, self.beta) <= formulas.OVERTHINKING:
            return Example("whole", [Span(attempt.text)])
        kept, masked, brake = self._cut(steps, stating, markers, count)
        if not brake:
            return Example("whole", [Span(attempt.text)])
        sentence = self.brake or (formulas.BRAKE_EXACT if self.form == "exact" else formulas.BRAKE_DYNAMIC)
        parts = [Span(masked, 0.0)] if masked else []
        brakes = [Span(f"{self.separator}{sentence}", exempt=True)]
        middle = parts + brakes if self.order == "kept_masked_brake" else brakes + parts
        gap = rest[: len(rest) - len(rest.lstrip("\n"))] or "\n\n"
        end = [Span(f"\n</think>{gap}", exempt=True), Span(rest.lstrip("\n"))]
        return Example("cut", [Span(self.separator.join(steps[:kept])), *middle, *end])

    def _cut(
        self, steps: list[str], stating: list[int], markers: dict[str, int], count: Count
    ) -> tuple[int, str, bool]:
        """(steps kept, masked text, whether it was cut)."""
        if self.form == "exact":
            kept, brake = formulas.exact_cut(stating, len(steps))
            third = steps[kept : stating[2]] if len(stating) > 2 else []
            return kept, self._behind([formulas.first_sentences(self.separator.join(third))] if third else []), brake
        tokens = [count(step) for step in steps]
        marked = [
            sum(markers[m] * n for m, n in formulas.count_markers(step, formulas.MARKERS).items()) for step in steps
        ]
        kept, masked, brake = formulas.dynamic_cut(stating[0], tokens, marked, self.beta, self.tau1, self.tau2)
        return kept, self._behind(steps[kept:masked]), brake

    def _behind(self, steps: list[str]) -> str:
        return self.separator + self.separator.join(steps) if steps else ""
