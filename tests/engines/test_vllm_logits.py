"""The adaptive temperature inside vLLM: the same temperatures as in transformers' engine, and only where asked."""

from __future__ import annotations

import json

import pytest
import torch

from tersely.algorithms.sampling.hapo_temperature import HAPOTemperature
from tersely.core.errors import ConfigError
from tersely.engines.base import GenerationRequest
from tersely.engines.sampling import PROCESSOR, fixed_and_extra, processors_for, stale_entry_point

STATISTICS = {"pivot": 0.3, "spread": 0.5, "upper": 1.2, "lower": 2.5}


def sampling(**changes):
    made = HAPOTemperature(**{"strength": 0.4, **changes})
    made.load_state_dict({"current": STATISTICS})
    return made


def require_vllm():
    pytest.importorskip("vllm", reason="vLLM is not installed: make engines")


def processor():
    require_vllm()
    from tersely.engines.vllm_logits import AdaptiveTemperature

    return AdaptiveTemperature(None, torch.device("cpu"), False)  # as model runner V1 makes one


class RunnerV2:
    """What model runner V2 does with a processor: requests take slots, and a step names the slot of every row.

    The slots, the loader and the context are vLLM's own; the pinned buffers behind them need a GPU and are left out.
    """

    def __init__(self, slots=8, loaded=(PROCESSOR,)):
        pytest.importorskip("vllm.v1.worker.gpu.sample.logits_processor", reason="this vLLM has no V2 processors")
        from vllm.v1.worker.gpu.sample.logits_processor.interface import LogitsProcRequestState
        from vllm.v1.worker.gpu.sample.logits_processor.loader import _load_v2_logitsprocs

        states = LogitsProcRequestState(torch.device("cpu"), slots, 50, None, None, None, None)
        self.processors = [made(None, states) for made in _load_v2_logitsprocs(list(loaded))]

    def add(self, slot, asked):
        return [one.add_request(slot, asked) for one in self.processors]

    def step(self, logits, slots, rows_each=1):
        from vllm.v1.worker.gpu.sample.logits_processor.interface import LogitsContext

        numbers = torch.tensor(slots)
        ctx = LogitsContext(numbers.repeat_interleave(rows_each), numbers, numbers.numpy(), None, None, None, None)
        for one in self.processors:
            one.apply_staged_writes()
            logits = one.apply(logits, ctx)
        return logits


def batch(rows, removed=(), added=(), moved=()):
    from vllm.v1.sample.logits_processor import BatchUpdate

    return BatchUpdate(rows, removed=list(removed), added=list(added), moved=list(moved))


def params(extra=None, temperature=1.0):
    from vllm import SamplingParams

    return SamplingParams(temperature=temperature, extra_args=extra)


@pytest.mark.parametrize("form", ["intended", "as_released", "unscaled"])
@pytest.mark.parametrize("base", [1.0, 0.7])
def test_both_engines_realise_the_same_temperatures(form, base):
    """vLLM divides what the processor leaves by the request's temperature; transformers' engine calls the sampling."""
    from tersely.engines.transformers import GumbelSampling

    made, wakes = sampling(form=form, base_temperature=base), processor()
    logits = torch.randn(6, 50, generator=torch.Generator().manual_seed(0)) * torch.arange(6).unsqueeze(1)
    wakes.update_state(batch(6, added=[(i, params(made.engine_arguments(), base), None, []) for i in range(6)]))
    in_vllm = wakes.apply(logits.clone()) / base
    torch.testing.assert_close(in_vllm, made(logits), atol=1e-5, rtol=1e-6)
    seeds = torch.arange(6)
    runner = RunnerV2()
    assert all(runner.add(i, params(made.engine_arguments(), base)) == [True] for i in range(6))
    torch.testing.assert_close(runner.step(logits.clone(), range(6)) / base, in_vllm, atol=0, rtol=0)
    scores = GumbelSampling(made, 1.0, 0)(logits, seeds, 3)
    noise = GumbelSampling(1.0, 1.0, 0)(torch.zeros_like(logits), seeds, 3)
    torch.testing.assert_close(scores - noise, in_vllm, atol=1e-4, rtol=1e-5)
    assert len(set(made.temperature(logits, STATISTICS).tolist())) == 6


def test_only_the_rows_that_ask_and_as_the_batch_changes():
    require_vllm()
    from vllm.v1.sample.logits_processor import MoveDirectionality

    wakes, asked = processor(), params(sampling().engine_arguments())
    hotter = params(sampling(strength=0.9).engine_arguments())
    logits = torch.randn(3, 20, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(wakes.apply(logits.clone()), logits)
    wakes.update_state(batch(3, added=[(0, params(), None, []), (1, asked, None, []), (2, hotter, None, [])]))
    got = wakes.apply(logits.clone())
    torch.testing.assert_close(got[0], logits[0])
    torch.testing.assert_close(got[1:2], sampling()(logits[1:2]))
    torch.testing.assert_close(got[2:], sampling(strength=0.9)(logits[2:]))
    wakes.update_state(batch(2, removed=[0], moved=[(2, 0, MoveDirectionality.UNIDIRECTIONAL)]))
    got = wakes.apply(logits[:2].clone())
    torch.testing.assert_close(got[:1], sampling(strength=0.9)(logits[:1]))
    torch.testing.assert_close(got[1:], sampling()(logits[1:2]))
    wakes.update_state(batch(1, removed=[0, 1], added=[(0, params(temperature=0.0, extra=asked.extra_args), None, [])]))
    torch.testing.assert_close(wakes.apply(logits[:1].clone()), logits[:1])


def test_slots_of_model_runner_v2_are_used_again_and_rows_come_in_any_order():
    require_vllm()
    runner, asked = RunnerV2(), sampling().engine_arguments()
    hotter = sampling(strength=0.9)
    logits = torch.randn(3, 20, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(runner.step(logits.clone(), [4, 0, 7]), logits)
    assert [
        runner.add(4, params(asked)),
        runner.add(0, params()),
        runner.add(7, params(hotter.engine_arguments())),
    ] == [
        [True],
        [False],
        [True],
    ]
    got = runner.step(logits.clone(), [7, 4, 0])
    torch.testing.assert_close(got[:1], hotter(logits[:1]))
    torch.testing.assert_close(got[1:2], sampling()(logits[1:2]))
    torch.testing.assert_close(got[2], logits[2])
    runner.add(4, params())  # the slot's next request asks for nothing, nor does a greedy one
    runner.add(7, params(asked, temperature=0.0))
    torch.testing.assert_close(runner.step(logits.clone(), [7, 4, 0]), logits)
    runner.add(1, params(asked))
    drafts = runner.step(logits[:2].repeat(2, 1), [1, 0], rows_each=2)  # two rows each, as in speculative decoding
    torch.testing.assert_close(drafts[:2], sampling()(logits[:2]))
    torch.testing.assert_close(drafts[2:], logits[:2])


def test_only_an_adaptive_sampling_brings_a_processor(monkeypatch):
    from tersely.algorithms.sampling.fixed import FixedSampling

    assert not stale_entry_point(), "pip install --no-deps -e ."
    assert processors_for(FixedSampling(0.7)) == processors_for(0.7) == processors_for(None) == []
    assert processors_for(sampling()) == [PROCESSOR]
    monkeypatch.setattr("tersely.engines.sampling.stale_entry_point", lambda: True)
    with pytest.raises(ConfigError, match="twice. Run `pip install"):
        processors_for(sampling())
    assert processors_for(0.7) == []


def test_before_there_are_statistics_the_temperature_is_the_base():
    made, wakes = HAPOTemperature(base_temperature=0.8), processor()
    wakes.update_state(batch(2, added=[(i, params(made.engine_arguments(), 0.8), None, []) for i in range(2)]))
    logits = torch.randn(2, 9)
    torch.testing.assert_close(wakes.apply(logits.clone()), logits)


@pytest.mark.parametrize(
    "text", ["{", "{}", '{"statistics": null, "strenght": 1}', '{"statistics": null, "strength": -1}']
)
def test_a_text_of_somebody_else_is_refused_before_it_reaches_the_batch(text):
    require_vllm()
    from tersely.engines.vllm_logits import AdaptiveTemperature

    with pytest.raises(ValueError):
        AdaptiveTemperature.validate_params(params({"tersely_temperature": text}))
    AdaptiveTemperature.validate_params(params({"somebody": "else"}))


def test_arguments_are_what_http_can_carry():
    temperature, extra = fixed_and_extra(sampling(base_temperature=0.9), {"other": 1.0})
    assert temperature == 0.9 and extra["other"] == 1.0
    assert json.loads(extra["tersely_temperature"])["statistics"] == STATISTICS
    assert fixed_and_extra(0.6, None) == (0.6, None)
    with pytest.raises(ConfigError, match="Use engine: transformers"):
        fixed_and_extra(lambda logits: logits, None)


@pytest.mark.vllm
def test_the_real_engine_draws_at_these_temperatures(tiny_model):
    """Its log-probs are those of softmax(raw logits / T_t), recomputed with transformers; plain requests stay plain."""
    pytest.importorskip("vllm", reason="vLLM is not installed: make engines")
    from transformers import AutoModelForCausalLM

    from tersely.engines.models import load_tokenizer
    from tersely.engines.vllm import VLLMEngine

    made = sampling(base_temperature=0.9)
    engine = VLLMEngine(str(tiny_model), load_tokenizer(str(tiny_model)), max_model_len=256, sampling=made)
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype="float32")
    made.load_state_dict({"current": {"pivot": 1.70, "spread": 0.01, "upper": 0.02, "lower": 0.02}})
    requests = [GenerationRequest(tuple(range(5, 9 + i % 4)), 1000 + i, 16) for i in range(6)]
    try:
        for temperature in (made, 0.9):
            for request, drawn in zip(requests, engine.generate(requests, temperature=temperature), strict=True):
                ids = torch.tensor([[*request.prompt_ids, *drawn.token_ids]])
                with torch.no_grad():
                    logits = model(ids).logits[0, len(request.prompt_ids) - 1 : -1]
                cooled = made(logits) if temperature is made else logits / temperature
                expected = cooled.log_softmax(1).gather(1, torch.tensor(drawn.token_ids).unsqueeze(1)).squeeze(1)
                torch.testing.assert_close(torch.tensor(drawn.logprobs), expected, atol=2e-4, rtol=1e-4)
    finally:
        engine.close()
