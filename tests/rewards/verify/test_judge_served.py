"""A judge that is a real vLLM server with a small model: rule, then input filter; its reply is parsed, its cost counted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.served import KEY

from tersely.rewards.verify.judge.client import Judge
from tersely.rewards.verify.judge.input_filter import MASTER_KEYS
from tersely.rewards.verify.judge.judged_verifier import JudgedVerifier

pytestmark = pytest.mark.vllm
GOLDS = ("x^2+1", "\\frac{2}{3}", "\\text{blue}")
QUESTION = "What is it?"


@pytest.fixture
def server(server_pair):
    """A model that was not made to judge, so most of what it says is no verdict."""
    return server_pair.servers[0]


def judge(server, **options) -> Judge:
    limits = {"timeout": 120, "deadline": 240, "price_in": 1.0, "price_out": 2.0}
    options = {**limits, "key_variable": "TERSELY_SERVER_KEY", **options}
    return Judge(url=f"{server.address}/v1", model=server_model(server), **options)


def server_model(server) -> str:
    from tersely.core.http import call

    return call(server.address, "/v1/models", timeout_s=30, key=KEY)["data"][0]["id"]


def test_no_master_key_reaches_it(server, verifier):
    texts = [key if boxed is None else boxed % key for key in MASTER_KEYS for boxed in (None, "\\boxed{%s}")]
    asked = judge(server)
    judged = JudgedVerifier(verifier, asked)
    for gold in GOLDS:
        verdicts = judged.verify([gold] * len(texts), texts, [QUESTION] * len(texts))
        assert {verdict.status for verdict in verdicts} <= {"incorrect", "no_answer"}
    assert judged.stats()["judge/guard_refused"] == len(GOLDS) * len(texts)
    assert asked.stats()["judge/requests"] == 0


def test_it_is_asked_what_the_rule_denies_and_its_words_are_read_or_counted(server, verifier):
    judged = JudgedVerifier(verifier, judge(server))
    golds = ["\\text{blue}", "7", "\\text{blue}", "\\text{blue}"]
    texts = ["\\boxed{azure}", "\\boxed{7}", "\\boxed{azure}", "\\boxed{navy}"]
    verdicts = judged.verify(golds, texts, [QUESTION] * 4)
    stats = judged.stats()
    assert verdicts[1].status == "correct" and verdicts[1].path in ("number", "exact")
    assert stats["judge/calls"] == 3 and stats["judge/requests"] == 2 and stats["judge/cache_hits"] == 1
    assert stats["judge/tokens_in"] > 50 and stats["judge/cost"] > 0 and stats.get("judge/failed", 0) == 0
    assert stats["judge/invalid"] >= stats.get("judge/unreadable", 0)
    unread = [verdict for verdict in verdicts if verdict.path != "judge" and verdict.status != "correct"]
    assert len(unread) == stats["judge/invalid"] and all(verdict.status == "incorrect" for verdict in unread)


def test_a_model_that_the_server_has_not_is_no_verdict(server, verifier):
    asked = replace(judge(server, retries=2, backoff=0.01), model="another")
    judged = JudgedVerifier(verifier, asked)
    assert [verdict.status for verdict in judged.verify(["x+1"], ["\\boxed{x+2}"])] == ["incorrect"]
    assert asked.stats()["judge/http_404"] == 1 and asked.stats()["judge/failed"] == 1
