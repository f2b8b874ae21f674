from __future__ import annotations

import threading
import time

import pytest

from tersely.rewards import Verdict
from tersely.rl.rollouts.grading import Grader


def rows(*golds):
    return [{"answer": gold, "problem": f"What is {gold} + 0?"} for gold in golds]


class Slow:
    def __init__(self, seconds=0.2):
        self.seconds, self.threads, self.closed = seconds, [], False

    def verify(self, golds, texts):
        self.threads.append(threading.get_ident())
        time.sleep(self.seconds)
        return list(zip(golds, texts, strict=True))

    def close(self):
        self.closed = True


def test_verification_runs_beside_other_work():
    verifier = Slow()
    grader = Grader(verifier)
    grader.start(rows("1", "2"), ["a", "b"])
    time.sleep(0.25)  # the log-prob work
    verdicts, seconds, waited = grader.result()
    assert verdicts == [("1", "a"), ("2", "b")] and seconds >= 0.2 and waited < 0.15
    assert verifier.threads != [threading.get_ident()]
    grader.close()
    assert verifier.closed


def test_an_error_of_the_verifier_arrives_where_the_verdicts_are_asked_for():
    class Broken:
        def verify(self, golds, texts):
            raise RuntimeError("the verifier is gone")

    grader = Grader(Broken())
    with pytest.raises(RuntimeError, match="verification"):
        grader.result()
    grader.start(rows("1"), ["a"])
    with pytest.raises(RuntimeError, match="the verifier is gone"):
        grader.result()
    grader.close()


def test_the_prompts_are_shown_where_the_verifier_reads_them_and_its_counters_are_metrics():
    from tersely.rewards import Verifier

    grader = Grader(Verifier(workers=1))
    asked = [{"answer": "x^2+2x", "problem": "Expand x(x+2)."}] * 3
    grader.start(asked, ["\\boxed{x(x+2)}", "\\boxed{2x+x^2}", "\\boxed{x^2+2x}"])
    verdicts, _, _ = grader.result()
    assert [(verdict.status, verdict.path) for verdict in verdicts][0] == ("incorrect", "restated")
    assert [verdict.status for verdict in verdicts][1:] == ["correct", "correct"]
    assert grader.metrics() == {"verify/cache_hit_rate": 0.0, "verify/restarts": 0}
    grader.close()


class Watching:
    """Says when it was asked, and is as slow as a batch of formulas."""

    def __init__(self, seconds=0.3):
        self.seconds, self.spans = seconds, []

    def verify(self, golds, texts):
        began = time.perf_counter()
        time.sleep(self.seconds)
        verdicts = [Verdict("correct" if i % 2 else "incorrect", "7", "number", 0.0) for i in range(len(texts))]
        self.spans.append((began, time.perf_counter()))
        return verdicts


class Plain:
    """A user's verifier: nothing but `verify`."""

    def __init__(self):
        self.asked = 0

    def verify(self, golds, responses):
        self.asked += len(golds)
        return [Verdict("correct", gold) for gold in golds]


def test_a_verifier_with_verify_alone_has_the_other_hooks():
    verifier = Plain()
    grader = Grader(verifier)
    grader.start([{"answer": "4", "problem": "2+2"}], ["4"])
    verdicts, _, _ = grader.result()
    assert [verdict.correct for verdict in verdicts] == [1.0] and verifier.asked == 1
    assert grader.ended is False and grader.metrics() == {}
    grader.close()
    assert type(verifier).__name__ == "Plain" and isinstance(verifier, Plain)


def test_a_step_verifies_while_it_computes_the_old_log_probs(make_trainer, monkeypatch):
    watching = Watching()
    trainer = make_trainer(verifier=watching, updates_per_batch=2)
    passes, original = [], trainer.policy_pass

    def slow_pass(batch):
        began = time.perf_counter()
        time.sleep(0.2)
        result = original(batch)
        passes.append((began, time.perf_counter()))
        return result

    monkeypatch.setattr(trainer, "policy_pass", slow_pass)
    trainer.train()
    (asked, told), (began, ended) = watching.spans[0], passes[0]
    assert asked < ended and began < told, "the verdicts were waited for before the log-probs, or asked for after them"
    step = next(row for row in trainer.state.log_history if "time/verify_wait" in row)
    assert 0 <= step["time/verify_wait"] < step["time/verify"] - 0.1
