"""Requests on several servers: shared load, additions while others run, servers that fall silent or away, idle time."""

from __future__ import annotations

import threading
import time

import pytest

from tersely.core.http import ServerDown, ServerRefused
from tersely.engines.base import Generation, GenerationRequest
from tersely.engines.server import scheduler as vllm_stream
from tersely.engines.server.scheduler import Stream

TWO = ("http://a", "http://b")


def request(seed):
    return GenerationRequest((1, 2), seed, 8)


def answer(seed):
    return Generation((seed,), (0.0,), "eos")


def stream(ask, addresses=TWO, **options):
    return Stream(addresses, ask, **{"concurrency": 2, "down": {}, **options})


def collected(made, count):
    found = {}
    while len(found) < count:
        found.update(made.ready())
    return found


def test_the_least_busy_server_takes_the_next_and_more_may_come():
    asked, most, lock = [], {}, threading.Lock()
    running = dict.fromkeys(TWO, 0)

    def ask(address, one):
        with lock:
            asked.append(address)
            running[address] += 1
            most[address] = max(most.get(address, 0), running[address])
        time.sleep(0.02)
        with lock:
            running[address] -= 1
        return answer(one.seed)

    with stream(ask) as made:
        for i in range(6):
            made.add(i, request(i))
        found = collected(made, 3)
        for i in range(6, 10):
            made.add(i, request(i))
        found |= collected(made, 10 - len(found))
        assert made.ready() == [] and made.pending == 0
    assert found == {i: answer(i) for i in range(10)}
    assert set(asked) == set(TWO) and max(most.values()) == 2


def test_a_server_that_goes_away_leaves_its_requests_to_the_other():
    down: dict[str, str] = {}

    def ask(address, one):
        if address == TWO[0]:
            raise ServerDown("http://a: gone")
        return answer(one.seed)

    with stream(ask, down=down) as made:
        for i in range(8):
            made.add(i, request(i))
        assert collected(made, 8) == {i: answer(i) for i in range(8)}
    assert down == {TWO[0]: "http://a: gone"}


def test_a_server_that_falls_silent_is_not_waited_for():
    """It keeps the connection and answers no probe, as a stopped process does."""
    stuck, down = threading.Event(), {}

    def ask(address, one):
        if address == TWO[0]:
            stuck.wait(20)
        return answer(one.seed)

    probe = {TWO[0]: "no answer within 60 s"}.get
    began = time.monotonic()
    with stream(ask, down=down, healthy=probe, probe_s=0.2) as made:
        for i in range(4):
            made.add(i, request(i))
        assert collected(made, 4) == {i: answer(i) for i in range(4)}
        stuck.set()
        time.sleep(0.1)
        assert made.ready() == [], "what comes after all is no second answer"
    assert list(down) == [TWO[0]] and time.monotonic() - began < 10


@pytest.mark.parametrize("works", [True, False])
def test_an_answer_may_take_longer_than_a_server_may_stand_still(works, monkeypatch):
    """Both answer every probe; the slow one counts tokens, which may be those of other clients, or none."""
    beats, down, began = [], {}, time.monotonic()
    monkeypatch.setattr(vllm_stream, "beat", lambda: beats.append(1))

    def ask(address, one):
        time.sleep(1.5 if address == TWO[0] else 0.0)
        return answer(one.seed)

    def tokens(address):
        return time.monotonic() if works else 7.0

    with stream(ask, down=down, tokens=tokens, probe_s=0.1, silent_s=0.5) as made:
        for i in range(4):
            made.add(i, request(i))
        assert collected(made, 4) == {i: answer(i) for i in range(4)}
    took = time.monotonic() - began
    assert (list(down), took > 1.4) == (([], True) if works else ([TWO[0]], False))
    assert len(beats) > 8 if works else "no token" in down[TWO[0]]


def test_no_server_left_and_a_refusal_end_it():
    def gone(address, one):
        raise ServerDown(f"{address}: gone")

    with stream(gone) as made, pytest.raises(ServerDown, match="3 completions .*http://b: gone"):
        for i in range(3):
            made.add(i, request(i))
        collected(made, 3)

    def refuses(address, one):
        raise ServerRefused("answered 400")

    with stream(refuses) as made, pytest.raises(ServerRefused, match="400"):
        made.add(0, request(0))
        collected(made, 1)


def test_time_without_a_request_is_idle():
    """One long request: the other server stands still, unless it is given something."""

    def ask(address, one):
        time.sleep(0.3 if one.seed == 0 else 0.1)
        return answer(one.seed)

    with stream(ask) as made:
        made.add(0, request(0))
        made.add(1, request(1))
        collected(made, 2)
    assert made.busy_s == pytest.approx(0.2, abs=0.08) and made.ended - made.began == pytest.approx(0.3, abs=0.08)


def test_an_answer_that_nobody_has_taken_is_pending():
    with stream(lambda address, one: answer(one.seed)) as made:
        made.add(0, request(0))
        while not made.answers:
            time.sleep(0.01)
        assert made.pending == 1 and made.ready() == [(0, answer(0))] and made.pending == 0


def test_a_served_request_says_where_it_ends_and_what_it_must_not_draw():
    from tersely.engines.server.engine import ServerEngine

    engine, sent = object.__new__(ServerEngine), []
    engine.models, engine._name = {"a": {"id": "m"}}, None
    choice = {"token_ids": [4, 7], "logprobs": {"token_logprobs": [-0.1, -0.2]}, "finish_reason": "stop"}
    engine._call = lambda address, path, body, timeout_s: sent.append(body) or {"choices": [choice]}
    common = {"stop_token_ids": [2]}
    asked = engine._one("a", GenerationRequest((1,), 0, 9, stop_ids=(7,), banned_ids=(5,)), common)
    plain = engine._one("a", GenerationRequest((1,), 0, 9), common)
    assert (asked.finish, plain.finish) == ("stop", "eos")
    assert sent[0]["stop_token_ids"] == [2, 7] and sent[0]["logit_bias"] == {"5": -100}
    assert sent[1]["stop_token_ids"] == [2] and "logit_bias" not in sent[1]
