import torch

from tersely.engines.base import GenerationRequest
from tersely.engines.row_rules import RowRules


def test_each_row_has_its_own():
    requests = [
        GenerationRequest((1,), 0, 5, stop_ids=(3, 4), banned_ids=(0,)),
        GenerationRequest((1,), 0, 5),
        GenerationRequest((1,), 0, 5, stop_ids=(2,), banned_ids=(1, 99)),
    ]
    rules = RowRules.of(requests, 6, torch.device("cpu"))
    banned = rules.allowed(torch.zeros(3, 6)).isinf()
    assert banned.nonzero().tolist() == [[0, 0], [2, 1]]
    assert rules.stopped(torch.tensor([4, 4, 4])).tolist() == [True, False, False]
    rules.keep(torch.tensor([2, 1]))
    assert rules.stopped(torch.tensor([2, 2])).tolist() == [True, False]
    assert rules.allowed(torch.zeros(2, 6)).isinf().nonzero().tolist() == [[0, 1]]


def test_the_engine_obeys_them(tiny_model):
    """Stops, bans and log-probs of single requests, in one batch with a plain one that they do not touch."""
    from dataclasses import replace

    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tersely.engines.transformers import TransformersEngine

    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    engine = TransformersEngine(model, AutoTokenizer.from_pretrained(tiny_model))
    plain = [GenerationRequest((5, 6, 7, n), 100 + n, 20) for n in range(6)]
    before = engine.generate(plain, temperature=1.0)
    third = before[0].token_ids[2]
    asked = [
        replace(plain[0], stop_ids=(third,), logprobs=True),
        replace(plain[1], banned_ids=before[1].token_ids[:4]),
        *plain[2:],
    ]
    after = engine.generate(asked, temperature=1.0)
    assert after[0].token_ids == before[0].token_ids[:3] and after[0].finish == "stop"
    assert not set(after[1].token_ids) & set(before[1].token_ids[:4])
    assert after[2:] == before[2:] and after[1].logprobs is None
    logits = model(torch.tensor([[5, 6, 7, 0, *after[0].token_ids]])).logits[0].float().log_softmax(1)
    expected = [logits[3 + i, token].item() for i, token in enumerate(after[0].token_ids)]
    assert torch.allclose(torch.tensor(after[0].logprobs), torch.tensor(expected), atol=1e-4)


def test_a_batch_without_rules_has_none():
    assert RowRules.of([GenerationRequest((1,), 0, 5)], 6, torch.device("cpu")) is None
