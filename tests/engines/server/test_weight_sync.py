"""Weights to two real vLLM servers through one collective group, over gloo where GPUs have NCCL; and what breaks it."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from support import gloo_weights, served

from tersely.core.http import ServerDown, call
from tersely.engines.server import weight_sync as served_weights
from tersely.engines.server.weight_sync import Offer

pytestmark = pytest.mark.vllm


@pytest.fixture(scope="module")
def folder(tiny_model, tmp_path_factory):
    return served.tied_model(tiny_model, tmp_path_factory.mktemp("served_over_gloo"))


@pytest.fixture(scope="module")
def start(folder):
    """Starts a server, on a port of its own or a given one."""
    pytest.importorskip("vllm", reason="vLLM is not installed: make engines")
    from tersely.engines.server.launch import VLLMServer

    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", gloo_weights.installed(folder))
    started = []

    def one(index, port=None):
        options = ("--weight-transfer-config", '{"backend": "gloo"}')
        log = folder / f"server_{index}.log"
        started.append(VLLMServer(str(folder), log, port=port, max_model_len=256, deadline_s=500, options=options))
        return started[-1]

    yield one
    for server in started:
        server.close()
    patch.undo()


@pytest.fixture(scope="module")
def servers(start):
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(start, range(2)))


@pytest.fixture
def gloo(monkeypatch):
    transport = gloo_weights.Gloo()
    monkeypatch.setattr(served_weights, "TRANSPORTS", (transport,))
    return transport


@pytest.fixture
def engine(servers, gloo, folder, tmp_path):
    from tersely.engines.models import load_tokenizer
    from tersely.engines.server.engine import ServerEngine

    addresses = [server.address for server in servers]
    made = ServerEngine(addresses, load_tokenizer(str(folder)), weights_dir=tmp_path, concurrency=4, sync_s=60.0)
    yield made
    made.close()
    assert not list(tmp_path.glob("*-*"))


@pytest.fixture
def model(folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype="float32")


def moved(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def gap_of(engine, model):
    return served.largest_gap(model, engine.generate(served.requests()), served.requests())


def test_one_broadcast_reaches_every_server(engine, model, gloo, monkeypatch):
    monkeypatch.setattr(engine.weights, "_through_folder", None)
    for version in range(3):
        monkeypatch.setattr(served_weights, "BUCKET_BYTES", (1 << 30, 50_000, 1)[version])
        engine.sync_weights(moved(model), version)
        assert engine.facts()["weights"] == dict.fromkeys(engine.addresses, "gloo")
        assert not engine.facts()["stale_head"] and not engine.down
        for only in engine.addresses:
            monkeypatch.setattr(engine, "down", {at: "not asked" for at in engine.addresses if at != only})
            assert gap_of(engine, model) < 1e-4
    parameters = len(list(model.parameters()))
    assert gloo.sent[0] == parameters and gloo.sent.count(1) >= parameters, "in buckets of the size that was asked for"


def test_training_over_a_group_keeps_the_gap_small(engine, folder, make_trainer):
    trainer = make_trainer(engine=engine, model_name_or_path=str(folder), max_steps=3, learning_rate=1e-2)
    trainer.train()
    gaps = [row["mismatch/mean"] for row in trainer.state.log_history if "mismatch/mean" in row]
    assert len(gaps) == 3 and max(gaps) < 1e-4
    assert set(engine.facts()["weights"].values()) == {"gloo"}


def test_a_server_without_it_has_the_folder(engine, model, monkeypatch):
    plain = engine.addresses[1]
    offer = engine.weights._offer
    monkeypatch.setattr(engine.weights, "_offer", lambda at: Offer() if at == plain else offer(at))
    engine.sync_weights(moved(model), 1)
    assert engine.facts()["weights"] == {engine.addresses[0]: "gloo", plain: "files"}
    assert gap_of(engine, model) < 1e-4


def test_a_trainer_that_was_killed_in_the_middle_leaves_nothing_in_the_way(engine, model):
    call(engine.addresses[0], "/start_weight_update", {}, timeout_s=30)
    engine.sync_weights(moved(model), 1)
    assert set(engine.facts()["weights"].values()) == {"gloo"}
    assert gap_of(engine, model) < 1e-4


def test_without_a_rendezvous_the_folder_serves(engine, model, gloo, monkeypatch):
    def refused(host, port, world_size):
        raise RuntimeError("NCCL error: no route")

    monkeypatch.setattr(gloo, "open", refused)
    monkeypatch.setattr(engine.weights, "sync_s", 60.0)
    with pytest.warns(UserWarning, match="from now on and not over gloo: NCCL error: no route"):
        engine.sync_weights(moved(model), 1)
    assert engine.facts()["weights"] == dict.fromkeys(engine.addresses, "files")
    assert gap_of(engine, model) < 1e-4
    engine.sync_weights(moved(model), 2)
    assert engine.facts()["weights"] == dict.fromkeys(engine.addresses, "files"), "it is not tried again at every step"


def test_a_broadcast_that_fails_is_told_and_the_next_one_is_whole(engine, model, gloo, monkeypatch):
    engine.sync_weights(model, 0)
    with monkeypatch.context() as patch:

        def broken(group, tensors):
            raise RuntimeError("NCCL error: unhandled system error")

        patch.setattr(gloo, "broadcast", broken)
        with (
            pytest.raises(ServerDown, match=r"no server took the weights of step 1.*sending it the weights failed"),
            pytest.warns(UserWarning, match="continuing without the server"),
        ):
            engine.sync_weights(moved(model), 1)
    engine.sync_weights(model, 2)
    assert set(engine.facts()["weights"].values()) == {"gloo"} and not engine.down
    assert gap_of(engine, model) < 1e-4


def test_a_server_that_was_started_anew_is_in_the_group_again(engine, model, servers, start):
    engine.sync_weights(model, 0)
    os.killpg(servers[1].process.pid, signal.SIGKILL)
    with pytest.warns(UserWarning, match=f"continuing without the server at {engine.addresses[1]}"):
        engine.sync_weights(moved(model), 1)
    assert engine.facts()["weights"] == {engine.addresses[0]: "gloo"}
    assert gap_of(engine, model) < 1e-4
    servers[1] = start(2, port=servers[1].port)
    engine.sync_weights(moved(model), 2)
    assert engine.facts()["weights"] == dict.fromkeys(engine.addresses, "gloo")
    assert gap_of(engine, model) < 1e-4
