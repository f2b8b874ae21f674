"""The cold start of the families: what it trains on, steps of all lengths, a short run that learns and repeats itself."""

import itertools
import random
import re
import shutil

import pytest
import torch

from tersely.testbed import cold_start as making
from tersely.testbed.cold_start import LONGEST, STEP_TOKENS, STEPS, Muon, cold_start, drill, examples, orthogonal, steps
from tersely.testbed.families import FAMILIES
from tersely.testbed.families.problems import problem_at, split_of
from tersely.testbed.tokenizer import build_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def test_the_first_examples_are_drills(monkeypatch, tokenizer):
    found = [tokenizer.decode(example.ids) for example in itertools.islice(examples(tokenizer, 0, 30), 60)]
    assert not any("Modulo" in text for text in found[:30]) and any("Modulo" in text for text in found[30:])


def test_examples_are_training_problems_in_the_chat_template(monkeypatch, tokenizer):
    families, drills = set(), 0
    for example in itertools.islice(examples(tokenizer, 0), 200):
        text = tokenizer.decode(example.ids)
        problem = re.search(r"Modulo 100[^<\n]+?(?=<| Think| The output| Please| Let's|\n)", text)
        drills += problem is None
        if problem:
            family = "search" if "solves" in text else "tracking" if "What is" in text else "calculation"
            assert split_of(family, problem.group()) == "train"
            families.add(family)
        start = example.ids.index(tokenizer.convert_tokens_to_ids("<think>")) + 2
        assert not any(example.weights[:start])
        assert example.ids[-1] == tokenizer.eos_token_id and example.weights[-1] == 1.0
        assert len(example.ids) == len(example.weights) <= LONGEST
    assert families == {*FAMILIES} and 5 < drills < 80


def test_a_step_follows_its_label_as_one_token(tokenizer):
    for family in ("calculation", "tracking"):
        item = problem_at("train", 0, 0, 5, family)
        tokens = tokenizer.convert_ids_to_tokens(tokenizer(item["problem"]).input_ids)
        steps_found = [token for token in tokens if re.fullmatch(r"[+*]\d+", token)]
        assert len(steps_found) == len(re.findall(r"[+*]\d+", item["problem"]))


def test_a_drill_repeats_entries_of_its_list_or_puts_a_chain_in_order():
    chains = 0
    for seed in range(40):
        prompt, pieces = drill(random.Random(seed), 20)
        listed = re.split("[,;]", prompt)
        first, *rest = "".join(piece.text for piece in pieces).removesuffix("</think>\n").splitlines()
        if re.fullmatch("[A-Z]", first):
            assert sorted(rest) == sorted(listed)
            assert [entry[0] for entry in rest] == [first, *(entry[2] for entry in rest[:-1])]
            chains += 1
        elif " = " in first:
            entries = prompt.partition(" solves")[0].split(prompt[3] if prompt[2].isdigit() else prompt[2])
            assert all(any(line.startswith(entry) for entry in entries) for line in (first, *rest))
        else:
            assert {first, *rest} <= {*listed}
        assert any(piece.weight > 1 for piece in pieces)
    assert 2 < chains < 25


def test_a_step_has_all_lengths_and_little_padding(monkeypatch, tokenizer):
    found = list(itertools.islice(steps(examples(tokenizer, 0), tokenizer.pad_token_id), 2 * STEPS))
    sizes = [sum(group.ids.numel() for group in groups) for groups in found]
    used = [sum(int((group.ids != tokenizer.pad_token_id).sum()) for group in groups) for groups in found]
    assert sum(used) / sum(sizes) > 0.9
    assert 0.9 < sum(used) / len(found) / STEP_TOKENS < 1.1
    for groups in found:
        assert groups[-1].ids.shape[1] > 2 * groups[0].ids.shape[1]
        for group in groups:
            assert not group.weights[group.ids == tokenizer.pad_token_id].any()


@pytest.mark.parametrize("shape", [(8, 8), (4, 12), (12, 4)])
def test_an_orthogonal_matrix_has_singular_values_near_one(shape):
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    found = orthogonal(matrix)
    assert found.shape == matrix.shape
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.3 and values.max() < 1.3


def test_muon_descends():
    weight = torch.nn.Parameter(torch.randn(6, 4, generator=torch.Generator().manual_seed(1)))
    goal, muon = torch.zeros(6, 4), Muon([weight])
    losses = []
    for _ in range(60):
        weight.grad = None
        loss = ((weight - goal) ** 2).sum()
        loss.backward()
        losses.append(loss.item())
        muon.step(0.05)
    assert losses[-1] < 0.2 * losses[0]


def test_a_short_run_learns_and_is_the_same_twice(monkeypatch, tmp_path):
    from transformers import AutoModelForCausalLM

    from tersely.engines.models import load_tokenizer

    monkeypatch.setattr(making, "CHUNK", 64)
    monkeypatch.setattr(making, "STEP_TOKENS", 1024)
    monkeypatch.setattr(making, "WARMUP", 3)
    monkeypatch.setattr(making, "HIDDEN", 32)
    monkeypatch.setattr(making, "LAYERS", 1)
    losses = [
        cold_start(tmp_path / name, tokens=tokens, progress=False)
        for name, tokens in zip("abc", (24_000, 24_000, 3_000), strict=True)
    ]
    assert losses[0] == losses[1] < losses[2] - 0.3
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in "ab")
    assert first == second
    shutil.copytree(tmp_path / "a" / "cycle-1", tmp_path / "stopped" / "cycle-1")
    cold_start(tmp_path / "stopped", tokens=24_000, progress=False)
    assert (tmp_path / "stopped" / "model.safetensors").read_bytes() == first
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "a")
    tokenizer = load_tokenizer(str(tmp_path / "a"))
    assert model.config.vocab_size == len(tokenizer) and model.config.eos_token_id == tokenizer.eos_token_id
