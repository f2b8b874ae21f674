"""The client of a served engine against a small server that speaks the protocol and counts what it is asked."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tersely.core.errors import ConfigError
from tersely.engines.base import GenerationRequest
from tersely.engines.openai import OpenAIEngine

EOS = 9


class Tokenizer:
    """One token a character, its digit."""

    eos_token_id = EOS

    def encode(self, text, add_special_tokens=False):
        return [int(character) for character in text]


class Server(ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies, self.failures, self.refuse, self.with_ids, self.counted = [], 0, False, True, 0
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        self.answer(200, {"data": [{"id": "tiny", "max_model_len": 64}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        if server.refuse:
            return self.answer(400, {"error": "temperature must be positive"})
        if server.failures:
            server.failures -= 1
            return self.answer(503, {})
        server.bodies.append(body)
        # It says its prompt again, and an end if there is room: the order of answers can be told from their text.
        ids = [*body["prompt"], EOS][: body["max_tokens"]]
        finish = "stop" if ids[-1] == EOS else "length"
        choice = {"text": "".join(str(i) for i in ids if i != EOS), "finish_reason": finish}
        if server.with_ids:
            choice["token_ids"] = ids
        self.answer(200, {"choices": [choice], "usage": {"completion_tokens": len(ids) + server.counted}})

    def answer(self, status, content):
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def server():
    server = Server()
    yield server
    server.shutdown()
    server.server_close()


def engine(*servers, **more):
    return OpenAIEngine(",".join(s.address + "/v1" for s in servers), Tokenizer(), first_pause_s=0.01, **more)


def requests(count):
    return [GenerationRequest((1, 2, n % 8), 2**62 + n, 4 if n % 2 else 3) for n in range(count)]


@pytest.mark.parametrize("with_ids", [True, False])
def test_answers_come_in_order_with_seeds_and_caps(server, with_ids):
    server.with_ids = with_ids
    answers = engine(server).generate(requests(40), temperature=0.6, top_p=0.95, top_k=20)
    for n, answer in enumerate(answers):
        whole = n % 2 == 1
        assert answer.token_ids == ((1, 2, n % 8, EOS) if whole else (1, 2, n % 8))
        assert answer.finish == ("eos" if whole else "length")
    assert {body["seed"] for body in server.bodies} == {2**62 + n for n in range(40)}
    assert all((body["temperature"], body["top_p"], body["top_k"]) == (0.6, 0.95, 20) for body in server.bodies)


def test_nothing_is_left_to_the_servers_defaults(server):
    """A vLLM server fills what a request leaves out from the model's generation config."""
    engine(server).generate(requests(1), temperature=1.0)
    (body,) = server.bodies
    sampling = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
    assert {key: body[key] for key in sampling} == sampling and (body["temperature"], body["top_p"]) == (1.0, 1.0)


def test_requests_go_to_servers_in_turn(server):
    other = Server()
    engine(server, other).generate(requests(10), temperature=1.0)
    assert len(server.bodies) == len(other.bodies) == 5
    other.shutdown()
    other.server_close()


def test_a_server_that_is_busy_is_asked_again(server):
    server.failures = 3
    assert len(engine(server).generate(requests(2), temperature=1.0)) == 2


def test_a_server_that_stays_silent_is_named(server):
    client = engine(server, attempts=2)
    server.failures = 100
    with pytest.raises(ConfigError, match=r"127.0.0.1:\d+/v1/completions answered 503.* after 2 attempts"):
        client.generate(requests(1), temperature=1.0)
    with pytest.raises(ConfigError, match="the server is up"):
        OpenAIEngine("http://127.0.0.1:9", Tokenizer(), attempts=1)


def test_what_a_server_refuses_is_shown(server):
    client = engine(server)
    server.refuse = True
    with pytest.raises(ConfigError, match="answered 400: .*temperature must be positive"):
        client.generate(requests(1), temperature=1.0)


def test_stops_and_bans_of_a_request(server):
    request = GenerationRequest((1, 2), 0, 8, stop_ids=(7,), banned_ids=(3, 4))
    engine(server).generate([request], temperature=0.0)
    assert server.bodies[0]["stop_token_ids"] == [7] and server.bodies[0]["logit_bias"] == {"3": -100, "4": -100}
    server.with_ids = False
    with pytest.raises(ConfigError, match="token ids"):
        engine(server).generate([request], temperature=0.0)


def test_another_tokenizer_than_the_servers_is_noticed(server):
    server.with_ids, server.counted = False, 7
    with pytest.raises(ConfigError, match="the served model's tokenizer"):
        engine(server).generate(requests(1), temperature=1.0)


def test_sampling_that_looks_at_logits_is_refused(server):
    with pytest.raises(ConfigError, match="transformers engine"):
        engine(server).generate(requests(1), temperature=lambda logits: logits)


def test_facts_and_context(server):
    client = engine(server)
    assert client.context == 64 and client.facts()["model"] == "tiny"
