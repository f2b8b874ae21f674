from __future__ import annotations

import threading
import time

import pytest

from tersely.rl.grading import Grader


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
    grader.start(["1", "2"], ["a", "b"])
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
    with pytest.raises(RuntimeError, match="no verification was started"):
        grader.result()
    grader.start(["1"], ["a"])
    with pytest.raises(RuntimeError, match="the verifier is gone"):
        grader.result()
    grader.close()
