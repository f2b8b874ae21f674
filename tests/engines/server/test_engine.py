"""Two real vLLM servers with a tied model: shared load, exchanged weights, stale answers refused, a server that dies."""

from __future__ import annotations

import os
import signal
import sys

import pytest
import torch
from support import phased, served

from tersely.algorithms.sampling.hapo_temperature import HAPOTemperature
from tersely.core.errors import ConfigError
from tersely.core.http import ServerDown, ServerRefused, call
from tersely.engines.base import GenerationRequest, StaleEngineError

largest_gap, requests = served.largest_gap, served.requests

pytestmark = pytest.mark.vllm


@pytest.fixture
def folder(server_pair):
    return server_pair.folder


@pytest.fixture
def engine(server_pair, tmp_path):
    from tersely.engines.models import load_tokenizer
    from tersely.engines.server.engine import ServerEngine

    made = ServerEngine(
        ",".join(server_pair.addresses),
        load_tokenizer(str(server_pair.folder)),
        weights_dir=tmp_path,
        concurrency=4,
        silent_s=60.0,
    )
    yield made
    made.close()
    assert not list(tmp_path.glob("*-*"))


@pytest.fixture
def model(folder, engine):
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    engine.sync_weights(loaded, 0)
    return loaded


def test_samples_are_the_same_from_every_server(engine, model, monkeypatch):
    asked = requests()
    together = engine.generate(asked)
    metrics = engine.metrics()
    assert metrics["engine/smallest_share"] >= 0.25 and 0 <= metrics["engine/idle_share"] < 1
    assert engine.metrics() == {}, "counted anew"
    assert largest_gap(model, together, asked) < 1e-4
    assert len({g.token_ids for g in together}) == len(asked)
    for only in engine.addresses:
        monkeypatch.setattr(engine, "down", {at: "not asked" for at in engine.addresses if at != only})
        assert [g.token_ids for g in engine.generate(asked[::-1])][::-1] == [g.token_ids for g in together]


def test_servers_count_their_tokens_which_is_progress(engine, model):
    before = [engine._tokens(address) for address in engine.addresses]
    engine.generate(requests())
    after = [engine._tokens(address) for address in engine.addresses]
    assert None not in before and all(b < a for b, a in zip(before, after, strict=True))


def test_an_adaptive_temperature_over_http(engine, model):
    """Log-probs are those at the temperature of every token, as transformers' engine would draw."""
    made = HAPOTemperature(strength=0.4)
    made.load_state_dict({"current": {"pivot": 1.70, "spread": 0.01, "upper": 0.02, "lower": 0.02}})

    def cooled(ids):
        logits = model(ids).logits[0]
        return type("Cooled", (), {"logits": made(logits).unsqueeze(0)})

    drawn = engine.generate(requests(), temperature=made)
    assert largest_gap(cooled, drawn, requests()) < 1e-4 < largest_gap(model, drawn, requests())


def test_a_server_without_the_processor_is_refused(engine, model, monkeypatch):
    """It would sample at the base temperature and report so."""
    monkeypatch.setattr("tersely.engines.sampling.PROCESSOR", "somebody:Else")
    with pytest.raises(ConfigError, match="started without --logits-processors somebody:Else"):
        engine.generate(requests(), temperature=HAPOTemperature(strength=0.4))


def test_synchronised_weights_are_the_ones_sampled_from(engine, model):
    """The model is tied: without the second packing of its head the gap would stay."""
    (engine.weights.folder / "0123abcd-7").mkdir()  # of a run that was killed; gone at the end, as all of them
    for version in range(1, 4):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
        stale = largest_gap(model, engine.generate(requests()), requests())
        engine.sync_weights(model, version)
        fresh = largest_gap(model, engine.generate(requests()), requests())
        assert fresh < 1e-4 and stale > 5e-3
    assert engine.facts()["version"] == 3 and not engine.facts()["stale_head"] and not engine.facts()["down"]


def test_a_head_that_cannot_be_packed_again_is_told(engine, model, monkeypatch):
    monkeypatch.setattr(engine.weights, "_repack", lambda address: False)
    engine.sync_weights(model, 1)
    assert engine.facts()["stale_head"]


def test_training_through_servers_keeps_the_gap_small(engine, folder, make_trainer):
    trainer = make_trainer(engine=engine, model_name_or_path=str(folder), max_steps=3, learning_rate=1e-2)
    trainer.train()
    gaps = [row["mismatch/mean"] for row in trainer.state.log_history if "mismatch/mean" in row]
    assert len(gaps) == 3 and max(gaps) < 1e-4


@pytest.mark.parametrize("kind", phased.PLANS)
def test_budgets_and_exits_write_and_sample_what_they_do_on_transformers(engine, model, kind):
    from tersely.engines.transformers import TransformersEngine

    plans, ours = phased.PLANS[kind], TransformersEngine(model, engine.tokenizer)
    found, expected = (phased.decoded(engine.tokenizer, plans, on, temperature=0) for on in (engine, ours))
    assert [(g.token_ids, g.forced, g.prefix) for g in found] == [(g.token_ids, g.forced, g.prefix) for g in expected]
    assert any(any(g.forced) for g in found)


BUDGET = {"thinking_budget": {"tokens": 4, "answer_tokens": 4}}
EXITS = {"prompting": phased.S_GRPO, "reward": "s_grpo", "advantage": "group_mean"}


@pytest.mark.parametrize("recipe", [BUDGET, EXITS], ids=["budget", "exits"])
def test_a_run_with_forced_tokens_resamples(engine, folder, make_trainer, recipe):
    resampled = {"filter": "mixed_groups", "max_resample_rounds": 2}
    trainer = make_trainer(model_name_or_path=str(folder), engine=engine, **recipe, **resampled)
    trainer.train()
    logged = [row for row in trainer.state.log_history if "mismatch/mean" in row]
    assert len(logged) == 2 and all(row["mismatch/mean"] < 1e-3 for row in logged)
    assert any(row["forced_tokens"] for row in trainer.logged_rows)


def test_training_an_adapter_through_servers_keeps_the_gap_small(engine, folder, make_trainer):
    pytest.importorskip("peft", reason="peft is not installed: pip install 'tersely[lora]'")
    recipe = {"model_name_or_path": str(folder), "peft": {"rank": 4}}
    trainer = make_trainer(engine=engine, max_steps=3, learning_rate=5e-2, **recipe)
    trainer.train()
    gaps = [row["mismatch/mean"] for row in trainer.state.log_history if "mismatch/mean" in row]
    assert len(gaps) == 3 and max(gaps) < 1e-4
    stale = largest_gap(trainer.model, engine.generate(requests()), requests())
    engine.sync_weights(trainer.model, 3)
    assert largest_gap(trainer.model, engine.generate(requests()), requests()) < 1e-4 < 5e-3 < stale


def test_answers_from_other_weights_are_refused(engine, model):
    """Another run has given one of the servers its own weights."""
    call(engine.addresses[1], "/update_weight_version", {"new_version": "other-7"}, timeout_s=10, key=engine._key)
    with pytest.raises(StaleEngineError, match=rf"{engine.addresses[1]} answered from the weights 'other-7'"):
        engine.generate(requests())


def test_nothing_is_open_to_whoever_has_no_key(engine, monkeypatch):
    for path, body in (
        ("/v1/models", None),
        ("/collective_rpc", {"method": "repack_tied_head"}),
        ("/weight_info", None),
    ):
        with pytest.raises(ServerRefused, match="401.*the key is missing or wrong"):
            call(engine.addresses[0], path, body, timeout_s=10)
    assert call(engine.addresses[0], "/health", timeout_s=10) is None


def test_what_a_server_refuses_is_said(engine, model):
    with pytest.raises(ServerRefused, match="answered 400.*context length"):
        engine.generate([GenerationRequest((5,) * (served.CONTEXT + 44), 1, 7)])


def test_a_server_that_is_stopped_is_not_waited_for(engine, model, server_pair, monkeypatch):
    expected = [g.token_ids for g in engine.generate(requests())]
    monkeypatch.setattr(engine, "probe_s", 3.0)
    stopped = server_pair.pid(1)
    os.kill(stopped, signal.SIGSTOP)
    try:
        assert [g.token_ids for g in engine.generate(requests())] == expected
        assert "no answer within 3 s" in engine.down[engine.addresses[1]]
    finally:
        os.kill(stopped, signal.SIGCONT)
    engine.sync_weights(model, 1)
    assert not engine.down, "it is asked again at the next synchronisation"


def test_without_a_server_that_answers_the_run_ends(engine, model, server_pair, monkeypatch):
    monkeypatch.setattr(engine, "probe_s", 3.0)
    stopped = [server_pair.pid(index) for index in (0, 1)]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(ServerDown, match="12 completions"):
            engine.generate(requests())
        assert sorted(engine.facts()["down"]) == sorted(engine.addresses)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


def test_steering_vectors_go_through_a_server(folder, make_trainer, tmp_path, monkeypatch, warm_vllm):
    """The server has the Qwen2 model as a Llama with biases, as `tersely serve` starts it."""
    pytest.importorskip("peft", reason="peft is not installed: pip install 'tersely[lora]'")
    from tersely.engines import steering
    from tersely.engines.model_checks import model_config
    from tersely.engines.models import load_tokenizer
    from tersely.engines.server.engine import ServerEngine
    from tersely.engines.server.launch import VLLMServer

    monkeypatch.setattr(sys, "executable", warm_vllm)
    options = steering.vllm_arguments(model_config(str(folder)))
    with VLLMServer(str(folder), tmp_path / "log", max_model_len=256, deadline_s=500, options=options) as server:
        engine = ServerEngine(
            server.address, load_tokenizer(str(folder)), weights_dir=tmp_path, concurrency=4, silent_s=60.0
        )
        try:
            recipe = {"model_name_or_path": str(folder), "peft": {"method": "steering"}}
            trainer = make_trainer(engine=engine, max_steps=3, learning_rate=1e-1, **recipe)
            trainer.train()
            gaps = [row["mismatch/mean"] for row in trainer.state.log_history if "mismatch/mean" in row]
            assert len(gaps) == 3 and max(gaps) < 1e-4
            stale = largest_gap(trainer.model, engine.generate(requests()), requests())
            engine.sync_weights(trainer.model, 3)
            assert largest_gap(trainer.model, engine.generate(requests()), requests()) < 1e-4 < 5e-3 < stale
        finally:
            engine.close()
