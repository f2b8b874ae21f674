"""What tests of served rollouts share: a tied model, requests for it, and how far answers are from the trainer's log-probs."""

from __future__ import annotations

import torch

from tersely.engines.base import GenerationRequest


def tied_model(tiny_model, folder):
    """Small models are tied, and a CPU server packs their head again after each synchronisation.

    Its generation config recommends a sampling, as Qwen2.5's does; no request may be sampled by it.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    from tersely.engines.models import load_tokenizer

    config = AutoConfig.from_pretrained(tiny_model, tie_word_embeddings=True)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    load_tokenizer(str(tiny_model)).save_pretrained(folder)  # AutoTokenizer would add a token of the family's
    recommended = {"do_sample": True, "top_k": 1, "repetition_penalty": 1.3, "min_p": 0.5, "temperature": 0.2}
    GenerationConfig(eos_token_id=config.eos_token_id, **recommended).save_pretrained(folder)
    return folder


def requests(count=12, length=12):
    return [GenerationRequest(tuple(range(5, 9 + i % 4)), 1000 + i, length) for i in range(count)]


def largest_gap(model, generations, asked):
    worst = 0.0
    for generation, request in zip(generations, asked, strict=True):
        ids = torch.tensor([[*request.prompt_ids, *generation.token_ids]])
        with torch.no_grad():
            logps = model(ids).logits.log_softmax(-1)[0, len(request.prompt_ids) - 1 : -1]
        expected = logps.gather(1, torch.tensor(generation.token_ids).unsqueeze(1)).squeeze(1)
        worst = max(worst, (expected - torch.tensor(generation.logprobs)).abs().max().item())
    return worst
