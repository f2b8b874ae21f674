from __future__ import annotations

import pytest
import torch
from scipy import stats
from transformers import AutoModelForCausalLM

from tersely.core.seeds import sample_seed
from tersely.engines.base import GenerationRequest
from tersely.engines.models import load_tokenizer
from tersely.engines.transformers import GumbelSampling, TransformersEngine, gumbel_noise


@pytest.fixture(scope="module")
def engine(tiny_model):
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype="float32")
    return TransformersEngine(model, load_tokenizer(str(tiny_model)))


def requests(count, length=10):
    return [GenerationRequest(tuple(range(5, 8 + i % 3)), sample_seed(0, 0, f"p{i}", 0), length) for i in range(count)]


def test_noise_is_standard_gumbel():
    seeds = torch.tensor([sample_seed(0, 0, str(i), 0) for i in range(200)])
    noise = torch.cat([gumbel_noise(seeds, position, 50).flatten() for position in range(4)])
    assert stats.kstest(noise.double().numpy(), "gumbel_r").pvalue > 1e-3
    assert noise.isfinite().all()


def test_the_largest_draw_is_finite_and_never_decides_against_the_model():
    """One hash in 2^24 rounds up to a uniform of 1: with a vocabulary of 150,000 that is one position in a hundred."""
    noise = gumbel_noise(torch.tensor([0]), 33, 150_000)
    assert noise.argmax() == 102574  # the hash of 24 ones
    assert noise.isfinite().all() and noise.max() < 17
    logits = torch.full((1, 150_000), -40.0)
    logits[0, 7] = 0.0
    assert GumbelSampling(1.0, 1.0, 0)(logits, torch.tensor([0]), 33).argmax() == 7


def test_noise_differs_by_seed_position_and_token():
    seeds = torch.tensor([1, 2])
    first, second = gumbel_noise(seeds, 0, 8), gumbel_noise(seeds, 1, 8)
    assert len(torch.cat([first.flatten(), second.flatten()]).unique()) == 32
    assert torch.equal(gumbel_noise(seeds, 3, 8), gumbel_noise(seeds.flip(0), 3, 8).flip(0))


def test_samples_follow_the_softmax():
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0])
    seeds = torch.tensor([sample_seed(7, 0, str(i), 0) for i in range(8000)])
    drawn = (logits + gumbel_noise(seeds, 0, 4)).argmax(1).bincount(minlength=4)
    assert stats.chisquare(drawn.numpy(), (logits.double().softmax(0) * 8000).numpy()).pvalue > 1e-3


def test_a_sample_does_not_depend_on_its_batch(engine):
    together = engine.generate(requests(6), temperature=1.0)
    alone = [engine.generate([request], temperature=1.0)[0] for request in requests(6)]
    assert together == alone
    assert together[::-1] == engine.generate(requests(6)[::-1], temperature=1.0)
    assert len({g.token_ids for g in together}) == 6


def test_each_row_stops_at_its_own_cap(engine):
    short, long = requests(2)
    short = GenerationRequest(short.prompt_ids, short.seed, 3)
    results = engine.generate([short, long], temperature=1.0)
    assert len(results[0].token_ids) <= 3
    assert (
        results[0].token_ids
        == engine.generate([long.__class__(short.prompt_ids, short.seed, 10)], temperature=1.0)[0].token_ids[:3]
    )
    for result in results:
        assert result.finish == ("eos" if result.token_ids[-1] == engine.tokenizer.eos_token_id else "length")


def test_temperature_zero_is_greedy(engine):
    greedy = engine.generate(requests(2), temperature=0)
    assert greedy == engine.generate([r.__class__(r.prompt_ids, r.seed + 1, 10) for r in requests(2)], temperature=0)


def test_top_k_one_is_greedy(engine):
    assert engine.generate(requests(3), temperature=1.0, top_k=1) == engine.generate(requests(3), temperature=0)


def test_no_request_is_no_work(engine):
    assert engine.generate([], temperature=1.0) == []


def test_greedy_equals_transformers_own_generate(engine):
    prompts = [r.prompt_ids for r in requests(5)]
    longest = max(map(len, prompts))
    pad = engine.tokenizer.pad_token_id
    ids = torch.tensor([[pad] * (longest - len(p)) + list(p) for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    expected = engine.model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=10, do_sample=False)
    for row, generation in zip(
        expected[:, longest:].tolist(), engine.generate(requests(5), temperature=0), strict=True
    ):
        assert row[: len(generation.token_ids)] == list(generation.token_ids)


def test_rows_that_end_early_leave_the_batch(engine, monkeypatch):
    sizes = []
    forward = engine.model.forward

    def watch(*args, **kwargs):
        sizes.append(kwargs["input_ids"].shape[0])
        return forward(*args, **kwargs)

    monkeypatch.setattr(engine.model, "forward", watch)
    mixed = [GenerationRequest(r.prompt_ids, r.seed, 2 + i) for i, r in enumerate(requests(8))]
    results = engine.generate(mixed, temperature=1.0)
    assert sizes[0] == 8 and sizes[-1] < 4
    monkeypatch.undo()
    assert results == [engine.generate([r], temperature=1.0)[0] for r in mixed]
