"""Weights to two real vLLM servers through one collective group, over gloo where GPUs have NCCL; and what breaks it."""

from __future__ import annotations

import os
import signal

import pytest
import torch
from support import gloo_weights, served

from tersely.core.http import ServerDown, call
from tersely.engines.server import weight_sync as served_weights
from tersely.engines.server.weight_sync import Offer

pytestmark = pytest.mark.vllm


@pytest.fixture
def folder(server_pair):
    return server_pair.folder


@pytest.fixture
def gloo(monkeypatch):
    transport = gloo_weights.Gloo()
    monkeypatch.setattr(served_weights, "TRANSPORTS", (transport,))
    return transport


@pytest.fixture
def engine(server_pair, gloo, folder, tmp_path):
    from tersely.engines.models import load_tokenizer
    from tersely.engines.server.engine import ServerEngine

    made = ServerEngine(
        server_pair.addresses, load_tokenizer(str(folder)), weights_dir=tmp_path, concurrency=4, sync_s=60.0
    )
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
    call(engine.addresses[0], "/start_weight_update", {}, timeout_s=30, key=engine._key)
    engine.sync_weights(moved(model), 1)
    assert set(engine.facts()["weights"].values()) == {"gloo"}
    assert gap_of(engine, model) < 1e-4


def test_without_a_rendezvous_the_folder_serves(engine, model, gloo, monkeypatch):
    def refused(host, port, world_size):
        raise RuntimeError("NCCL error: no route")

    monkeypatch.setattr(gloo, "open", refused)
    monkeypatch.setattr(engine.weights, "sync_s", 60.0)
    with pytest.warns(UserWarning, match="over gloo failed; using the folder .* from now on: NCCL error: no route"):
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


def test_a_server_that_dies_leaves_its_share_to_the_other_and_joins_the_group_when_it_starts_again(
    engine, model, server_pair, monkeypatch
):
    engine.sync_weights(model, 0)
    expected = [g.token_ids for g in engine.generate(served.requests())]
    staying, dying = engine.addresses
    one, asked = engine._one, []

    def killed_once(address, *rest):
        asked.append(address)
        if address == dying and asked.count(dying) == 1:
            os.killpg(server_pair.servers[1].process.pid, signal.SIGKILL)
        return one(address, *rest)

    monkeypatch.setattr(engine, "_one", killed_once)
    assert [g.token_ids for g in engine.generate(served.requests())] == expected
    assert list(engine.facts()["down"]) == [dying]
    with pytest.warns(UserWarning, match=f"continuing without the server at {dying}"):
        engine.sync_weights(moved(model), 1)
    assert engine.facts()["weights"] == {staying: "gloo"}
    assert gap_of(engine, model) < 1e-4
    server_pair.revive()
    engine.sync_weights(moved(model), 2)
    assert engine.facts()["weights"] == dict.fromkeys(engine.addresses, "gloo")
    assert gap_of(engine, model) < 1e-4
