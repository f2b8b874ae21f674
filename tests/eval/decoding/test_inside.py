"""Strategies that reach into the model: their formulas on known numbers."""

import math

import pytest
import torch
from safetensors.torch import save_file

from tersely.core.errors import ConfigError
from tersely.eval.decoding import cntp as cautious
from tersely.eval.decoding import diff_adapt, seal
from tersely.eval.decoding.cntp import CautiousNextToken
from tersely.eval.decoding.moi import MixtureOfInputs
from tersely.eval.decoding.soft_thinking import SoftThinking
from tersely.eval.decoding.stepwise import entropy
from tersely.eval.decoding.vanilla import Vanilla


def test_number_of_branches():
    h = torch.tensor([0.0, 0.01, 0.755, 1.5, 9.0])
    assert CautiousNextToken().branches(h).tolist() == [1, 1, 5, 10, 10]
    assert entropy(torch.tensor([[0.5, 0.5, 0.0]])).item() == pytest.approx(math.log(2))


def test_the_branch_of_least_perplexity_is_kept(tiny_engine, prompts, warm):
    """Every kept branch is recomputed: no discarded one was likelier, and all of them are paid for."""
    seen = []
    original = CautiousNextToken._keep_best

    def keep(self, stepper, rows, going, owner, drawn, logp):
        for place in set(owner):
            mine = [b for b, p in enumerate(owner) if p == place]
            seen.append((rows[going[place]], len(rows[going[place]].ids), [(drawn[b], logp[b]) for b in mine]))
        return original(self, stepper, rows, going, owner, drawn, logp)

    strategy = CautiousNextToken(n_max=3, branch_tokens=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CautiousNextToken, "_keep_best", keep)
        found = strategy(tiny_engine, prompts[:2], warm, 0)
    assert any(len(branches) > 1 for _, _, branches in seen)
    for row, place, branches in seen:
        best = min(branches, key=lambda branch: -branch[1] / len(branch[0]))
        assert row.ids[place : place + len(best[0])] == best[0]
        with torch.no_grad():
            ids = torch.tensor([[*row.prompt_ids, *row.ids[:place], *best[0]]])
            logp = torch.log_softmax(tiny_engine.model(ids).logits[0].float(), 1)
        start = len(row.prompt_ids) + place
        own = sum(logp[start + i - 1, token].item() for i, token in enumerate(best[0]))
        assert own == pytest.approx(best[1], abs=1e-3)
    paid = sum(len(ids) for _, _, branches in seen for ids, _ in branches)
    assert paid == sum(one.cost for one in found)


def test_a_branch_ends_at_punctuation(tiny_engine, prompts, warm):
    session = cautious.Session(tiny_engine, warm, 0)
    row = cautious.start(prompts[:1])[0]
    step = type("S", (), {"stops": {9999}})()
    ended = CautiousNextToken()._ended
    comma, letter = (tiny_engine.tokenizer.convert_tokens_to_ids(c) for c in ",a")
    assert ended(session, step, row, [comma], 2) and not ended(session, step, row, [letter], 2)
    assert ended(session, step, row, [letter], 1) and ended(session, step, row, [letter, 9999], 2)


def test_mixture_of_inputs():
    embedding = torch.eye(4)
    scores = torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log()
    token = torch.tensor([1])
    p = torch.tensor([2 / 3, 1 / 3, 0, 0])
    h = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3)) / math.log(2)
    own = torch.tensor([0.0, 1, 0, 0])
    code = MixtureOfInputs(beta=1.0, top_n=2).mixed(scores, token, embedding)[0]
    assert torch.allclose(code, h * (p + own) / 2 + (1 - h) * own, atol=1e-6)
    paper = MixtureOfInputs(beta=1.0, top_n=2, form="paper").mixed(scores, token, embedding)[0]
    assert torch.allclose(paper, (h * p + (2 - h) * own) / 2, atol=1e-6)
    assert torch.allclose(MixtureOfInputs(beta=-100, top_n=2).mixed(scores, token, embedding)[0], p, atol=1e-6)
    assert torch.allclose(MixtureOfInputs(top_n=1).mixed(scores, token, embedding)[0], own)


def test_the_soft_mixture():
    embedding = torch.eye(4)
    logits = torch.tensor([[0.5, 0.25, 0.15, 0.1]]).log()
    ids, mixed = SoftThinking(top_n=2, temperature=1.0, top_p=1.0, min_p=0.0)._mixture(logits, embedding)
    assert ids.tolist() == [0] and torch.allclose(mixed[0], torch.tensor([2 / 3, 1 / 3, 0, 0]), atol=1e-6)
    _, cut = SoftThinking(top_n=4, temperature=1.0, top_p=1.0, min_p=0.45)._mixture(logits, embedding)
    assert torch.allclose(cut[0], torch.tensor([2 / 3, 1 / 3, 0, 0]), atol=1e-6)


def test_soft_thinking_stops_when_calm(tiny_engine, prompts, greedy):
    """Entropy is below 9 nats everywhere: the end marker is written after `patience` steps, the answer stopped likewise."""
    found = SoftThinking(top_n=3, threshold=9.0, patience=4)(tiny_engine, prompts, greedy, 0)
    end = tuple(tiny_engine.tokenizer.encode("</think>", add_special_tokens=False))
    for one in found:
        assert one.finish == "stopped_early" and one.token_ids[3:4] == end and one.injected[3]
        assert one.thinking_length == 4 and len(one.token_ids) == 8


def test_steering_moves_only_marked_rows_at_borders(tiny_engine, prompts, greedy, tmp_path):
    hidden = tiny_engine.model.config.hidden_size
    path = tmp_path / "v.safetensors"
    plain = Vanilla()(tiny_engine, prompts, greedy, 0)
    letter = tiny_engine.tokenizer.decode([plain[0].token_ids[4]])
    save_file({"vector": torch.full((hidden,), 3.0)}, path, metadata={"layer": "0", "border": letter})
    steered = seal.Seal(str(path), alpha=5.0)(tiny_engine, prompts, greedy, 0)
    for a, b in zip(plain, steered, strict=True):
        text = "".join(tiny_engine.tokenizer.decode([token]) for token in a.token_ids)
        ids = [tiny_engine.tokenizer.decode([token]) for token in a.token_ids]
        first = ids.index(letter) if letter in ids else len(ids)
        assert a.token_ids[: first + 1] == b.token_ids[: first + 1], text
    assert [a.token_ids for a in plain] != [b.token_ids for b in steered]
    again = Vanilla()(tiny_engine, prompts, greedy, 0)
    assert [a.token_ids for a in again] == [a.token_ids for a in plain], "the hook is gone"
    with pytest.raises(ConfigError, match="seal.vector.*`tersely fit seal`"):
        seal.Seal("nowhere")(tiny_engine, prompts, greedy, 0)
    save_file({"vector": torch.ones(3)}, path)
    with pytest.raises(ConfigError, match="seal.vector.*shape"):
        seal.Seal(str(path))(tiny_engine, prompts, greedy, 0)


def test_the_probe_picks_the_way(tiny_engine, prompts, warm, tmp_path):
    hidden = tiny_engine.model.config.hidden_size
    flat = {
        "mean": torch.zeros(hidden),
        "scale": torch.ones(hidden),
        "w1": torch.zeros(2, hidden),
        "b1": torch.zeros(2),
    }
    for place, (name, (_, share, words)) in enumerate(diff_adapt.WAYS.items()):
        path = tmp_path / f"{name}.safetensors"
        save_file({**flat, "w2": torch.zeros(3, 2), "b2": torch.eye(3)[place]}, path)
        one = diff_adapt.DiffAdapt(str(path), budget=20)(tiny_engine, prompts, warm, 0)[0]
        assert len(one.token_ids) == int(20 * share) == one.budget and one.truncated
        assert tiny_engine.tokenizer.decode(one.prompt_ids).endswith(f"\n{words}<assistant><think>\n")
    save_file({**flat, "w1": torch.zeros(2, 3), "w2": torch.zeros(3, 2), "b2": torch.zeros(3)}, path)
    with pytest.raises(ConfigError, match="diff_adapt.probe.* 3 units; expected"):
        diff_adapt.DiffAdapt(str(path), budget=20)(tiny_engine, prompts, warm, 0)
