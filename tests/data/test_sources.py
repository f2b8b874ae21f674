"""Procedural and hub-like sources."""

import json

import pytest

from tersely.data import DataError, load_problems


def gym(**keys):
    return {"path": "reasoning_gym:chain_sum", "limit": 20, **keys}


def test_reasoning_gym_is_reproducible_and_splits_are_apart():
    first = load_problems(gym(), seed=3)
    assert list(load_problems(gym(), seed=3)["prompt_id"]) == list(first["prompt_id"])
    assert not set(first["problem"]) & set(load_problems(gym(split="test"), seed=3)["problem"])
    assert not set(first["problem"]) & set(load_problems(gym(), seed=4)["problem"])


def test_a_pinned_seed_does_not_follow_the_run():
    one, two = (load_problems(gym(seed=0), seed=run)["prompt_id"] for run in (1, 2))
    assert list(one) == list(two)


def test_reasoning_gym_parameters_and_their_errors():
    easy = load_problems(gym(parameters={"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}), seed=0)
    assert all(abs(int(answer)) <= 18 for answer in easy["answer"])
    with pytest.raises(DataError, match="min_term"):
        load_problems(gym(parameters={"min_term": 2}), seed=0)
    with pytest.raises(DataError, match="task 'chain_sums'.*'chain_sum'"):
        load_problems({"path": "reasoning_gym:chain_sums"}, seed=0)
    with pytest.raises(DataError, match="split.* 'dev'"):
        load_problems(gym(split="dev"), seed=0)


def test_testbed_levels_and_no_instruction():
    data = load_problems({"path": "testbed", "split": "test", "limit": 12, "parameters": {"levels": [2, 4]}}, seed=0)
    assert set(data["level"]) == {"2", "4"}
    assert data[0]["prompt"] == [{"role": "user", "content": data[0]["problem"]}]
    with pytest.raises(DataError, match="'levels'"):
        load_problems({"path": "testbed", "parameters": {"level": [2]}}, seed=0)


def test_a_saved_folder_is_read_like_a_hub_set(tmp_path):
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps({"question": f"{split}?", "answer": "1"}) + "\n")
    spec = {"path": str(tmp_path), "columns": {"problem": "question"}}
    assert load_problems({**spec, "split": "test"}, seed=0)[0]["problem"] == "test?"
    with pytest.raises(DataError, match=r"split dev\)"):
        load_problems({**spec, "split": "dev"}, seed=0)


def test_a_hub_id_without_a_network_says_so(monkeypatch):
    import datasets

    def refuse(*args, **kwargs):
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(DataError, match=r"dataset gsm8k \(openai/gsm8k, main, split train\).*hub"):
        load_problems("gsm8k", seed=0)
