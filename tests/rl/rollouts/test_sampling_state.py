"""Sampling parameters of a batch: temperatures that reach the engine, the record and the log-prob mismatch."""

from __future__ import annotations

import json
from contextlib import nullcontext

import pytest
import torch

from tersely.algorithms.sampling.hapo_temperature import HAPOTemperature, row_entropy
from tersely.core.build import build
from tersely.engines.registry import Capabilities
from tersely.rl.rollouts.sampling_state import SamplingState


def test_a_fixed_temperature_is_a_number_and_changes_no_log_prob():
    sampling_state = SamplingState(build("sampling", {"name": "fixed", "temperature": 0.7}))
    logp = torch.randn(2, 3)
    assert sampling_state.temperature == 0.7 and sampling_state.metrics(None) == {}
    assert sampling_state.logp(logp, logp) is logp


@pytest.mark.parametrize(("strength", "error"), [(0.05, 0.004), (0.1, 0.02)])
def test_log_probs_of_drawn_tokens_to_first_order(strength, error):
    made = HAPOTemperature(strength=strength)
    made.load_state_dict({"current": {"pivot": 0.5, "spread": 0.3, "upper": 0.6, "lower": 0.8}})
    logits = 2 * torch.randn(400, 12, generator=torch.Generator().manual_seed(0))
    token = torch.distributions.Categorical(logits=made(logits)).sample().unsqueeze(1)
    plain, drawn = (x.log_softmax(1).gather(1, token).squeeze(1) for x in (logits, made(logits)))
    expected = SamplingState(made).logp(plain, row_entropy(logits))
    assert (expected - drawn).abs().mean() < error < (plain - drawn).abs().mean()


def test_the_sampling_moves_on_and_the_drawing_stays():
    made = HAPOTemperature()
    sampling_state = SamplingState(made)
    made.load_state_dict({"current": {"pivot": 0.0, "spread": 1.0, "upper": 1.0, "lower": 1.0}})
    assert sampling_state.sampling.current is None and sampling_state.temperature is sampling_state.sampling


def test_training_with_an_adaptive_temperature(make_trainer):
    """The first batch is drawn at the base; the next ones around it, by the statistics of the one before."""
    trainer = make_trainer(sampling={"name": "hapo_temperature", "strength": 0.5}, loss="hapo", max_steps=3)
    trainer.train()
    first, second = trainer.state.log_history[:2]
    assert first["temperature/min"] == first["temperature/max"] == 1.0
    assert 0.5 <= second["temperature/min"] < 1.0 <= second["temperature/max"] <= 1.5
    assert 0 <= second["temperature/hotter_share"] < 0.5
    assert trainer.objective.sampling.current["upper"] > 0 and json.dumps(second)


def test_an_engine_with_log_probs_is_judged_at_the_temperatures_it_drew_at(make_trainer):
    """An engine that reports log-probs at T_t passes a limit that the plain difference would break."""
    from tersely.engines.transformers import TransformersEngine

    class Reporting(TransformersEngine):
        capabilities = Capabilities(weight_sync=True, sampler_logprobs=True)

        def generate(self, requests, *, temperature, **_):
            drawn = super().generate(requests, temperature=temperature)
            return [self._scored(r, d, temperature) for r, d in zip(requests, drawn, strict=True)]

        def _scored(self, request, drawn, temperature):
            import dataclasses

            ids = torch.tensor([[*request.prompt_ids, *drawn.token_ids]])
            with torch.no_grad():
                logits = self.model(ids).logits[0, len(request.prompt_ids) - 1 : -1].float()
            cooled = temperature(logits) if callable(temperature) else logits / temperature
            found = cooled.log_softmax(1).gather(1, torch.tensor(drawn.token_ids).unsqueeze(1)).squeeze(1)
            return dataclasses.replace(drawn, logprobs=tuple(found.tolist()))

        def sync_weights(self, model, version):
            self.version = version

    engine = Reporting(None, None)
    trainer = make_trainer(
        engine=engine,
        sampling={"name": "hapo_temperature", "strength": 0.1},
        loss={"name": "sampler_correction", "base": "hapo"},
        max_steps=3,
        guards={"mismatch": {"threshold": 0.004}},
    )
    engine.model, engine.tokenizer = trainer.model, trainer.processing_class
    engine.unwrapped = lambda: nullcontext(trainer.model)
    trainer.train()
    last = trainer.state.log_history[2]
    assert last["mismatch/mean"] < 0.004 and last["sampler/masked_share"] == 0.0
    assert last["sampler/weight_mean"] != 1.0
