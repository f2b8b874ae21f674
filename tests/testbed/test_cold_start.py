"""The cold start of the families: what it trains on, steps of all lengths, a short run that learns and repeats itself."""

import itertools
import random
import re
import shutil

import pytest
import torch

from tersely.testbed import cold_start as making
from tersely.testbed.cold_start import (
    LONGEST,
    STEP_TOKENS,
    STEPS,
    Muon,
    cold_start,
    drill,
    examples,
    orthogonal,
    steps,
    texts,
)
from tersely.testbed.families import FAMILIES
from tersely.testbed.families.problems import problem_at, split_of
from tersely.testbed.families.writing import UNKNOWN_FACTORS, is_known
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


def drills(count=200):
    """(prompt, lines) of drills."""
    for seed in range(count):
        prompt, pieces = drill(random.Random(seed), 20)
        assert any(piece.weight > 1 for piece in pieces)
        yield prompt, "".join(piece.text for piece in pieces).removesuffix("</think>\n").splitlines()


def test_a_drill_repeats_entries_of_its_list_or_puts_a_chain_in_order_up_to_its_goal():
    chains = lists = 0
    for prompt, (first, *rest) in drills():
        listed = re.split("[,;]", prompt.partition(".")[0].partition(" solves")[0])
        if "What is" in prompt:
            goal = prompt[-2]
            assert {*rest[:-1]} <= {*listed} and rest[-1] == f"{goal}?"
            assert [entry[0] for entry in rest] == [first, *(entry[2] for entry in rest[:-1])]
            chains += 1
        elif " " not in first:
            assert {first, *rest} <= {*listed}
            lists += 1
    assert chains > 15 and lists > 50


def test_products_of_drills_are_true_and_none_has_an_unknown_factor():
    found = 0
    for prompt, lines in drills():
        if "solves" not in prompt:
            for factor, left, result in re.findall(r"^[A-Z]\*(\d+) (\d+) = (\d+)$", "\n".join(lines), re.M):
                assert int(factor) * int(left) % 100 == int(result) and int(factor) not in UNKNOWN_FACTORS
                found += 1
    assert found > 100


def test_half_of_the_tests_of_drills_succeed():
    """Otherwise "no" is right nearly always, and a model does not learn to compare."""
    verdicts = []
    for prompt, lines in drills(600):
        if "solves" in prompt:
            for line in lines:
                result, target, verdict = re.search(r"(\d+), (\d+), (no|ok|yes)", line).groups()
                assert (result == target) == (verdict != "no")
                assert (verdict == "yes") == line.endswith(f"yes, {re.match('[A-Z]([0-9]+)', line)[1]}")
                verdicts.append(verdict != "no")
    assert 0.4 < sum(verdicts) / len(verdicts) < 0.75


def test_the_cold_start_never_shows_a_solution_with_an_unknown_factor():
    for prompt, pieces in itertools.islice(texts(0), 300):
        if "Modulo" in prompt:
            assert is_known(prompt + "".join(piece.text for piece in pieces))
    assert not all(is_known(problem_at("train", 0, index, 5, "search")["problem"]) for index in range(40))


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
