"""Combines the rule-based verifier, the input filter and the judge, so that a judge can only add correct answers.

    correct by the rule               correct, the judge is not asked
    rejected by the input filter      the rule's verdict, the judge is not asked
    the judge replies yes or no       the judge's verdict
    the judge gives no verdict        the rule's verdict, counted

Never combine an unfiltered judge with a reward for brevity, because the shortest text that the judge accepts by mistake
earns the highest reward.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tersely.core.verifier import AnswerVerifier
from tersely.rewards.verify.judge.client import Judge
from tersely.rewards.verify.judge.input_filter import input_filter
from tersely.rewards.verify.verdict import Verdict
from tersely.rewards.verify.verifier import Verifier, arguments_of


class JudgedVerifier(AnswerVerifier):
    """A `Verifier` with a judge that may change "incorrect" and "undecided"; the prompts are the judge's questions.

    require_boxed, extra_keys: see `input_filter`
    """

    def __init__(
        self, verifier: Verifier, judge: Judge, *, require_boxed: bool = False, extra_keys: Iterable[str] = ()
    ):
        self.verifier, self.judge = verifier, judge
        self.require_boxed, self.extra_keys = require_boxed, tuple(extra_keys)
        self._counts: Counter[str] = Counter()

    def __enter__(self) -> JudgedVerifier:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """As `Verifier.start`."""
        self.verifier.start()

    def verify(
        self,
        golds: Sequence[str],
        responses: Sequence[str],
        prompts: Sequence[str] | None = None,
        progress: Callable[[int], None] | None = None,
        scorers: Sequence[str | None] | None = None,
    ) -> list[Verdict]:
        """Return one verdict per response, in order. The judge is not asked about a row with a scorer."""
        verdicts = self.verifier.verify(golds, responses, prompts, progress, scorers)
        asked = []
        for index, verdict in enumerate(verdicts):
            if verdict.status == "correct" or (scorers is not None and scorers[index] is not None):
                continue
            self._counts["judge/rule_no"] += 1
            if input_filter(verdict.answer, self.require_boxed, responses[index], self.extra_keys) is not None:
                self._counts["judge/guard_refused"] += 1
            elif verdict.path == "restated":
                self._counts["judge/restated"] += 1
            else:
                asked.append(index)
        self._counts["judge/calls"] += len(asked)
        questions = [
            (
                "" if prompts is None else prompts[index],
                str(golds[index]),
                verdicts[index].answer or "",
                responses[index],
            )
            for index in asked
        ]
        for index, answer in zip(asked, self.judge.ask(questions), strict=True):
            if answer is None:
                self._counts["judge/invalid"] += 1
                continue
            self._counts["judge/rescued"] += answer
            verdicts[index] = replace(verdicts[index], status="correct" if answer else "incorrect", path="judge")
        return verdicts

    def verify_rows(self, rows: Sequence[Mapping[str, Any]], responses: Sequence[str]) -> list[Verdict]:
        """As `Verifier.verify_rows`."""
        return self.verify(responses=responses, **arguments_of(rows))

    def stats(self) -> dict[str, float]:
        """Return the counters of verifier and judge, with the shares of judged and of filtered answers to watch."""
        rejected, calls = self._counts["judge/rule_no"], self._counts["judge/calls"]
        return {
            **self.verifier.stats(),
            **self.judge.stats(),
            **self._counts,
            "judge/rescued_share": self._counts["judge/rescued"] / rejected if rejected else 0.0,
            "judge/refused_per_call": self._counts["judge/guard_refused"] / calls if calls else 0.0,
        }

    def pids(self) -> list[int]:
        return self.verifier.pids()

    def close(self) -> None:
        self.verifier.close()
