"""Traces of a file as the examples of a cold start: which count, how they meet the chat template, and a whole stage."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file

from tersely.configs.cold_start import ColdStart, TracesSpec
from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError
from tersely.rl.check import check_stage
from tersely.rl.checkpoints.resume import Start
from tersely.rl.sft.cold_start import train_cold_start
from tersely.rl.sft.discriminator import word_numbers
from tersely.rl.sft.traces import attempts_of, read_traces

OPEN = "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}<think>\n{% endif %}"


@pytest.fixture
def tokenizer(tiny_model):
    from tersely.engines.models import load_tokenizer

    return load_tokenizer(str(tiny_model))


@pytest.fixture
def verifier():
    from tersely.rewards.verify import Verifier

    with Verifier(workers=1) as made:
        yield made


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def attempts(path, tokenizer, verifier, **keys):
    traces = read_traces(TracesSpec.of({"path": path, **keys}), 0, None, None)
    return {row["problem"]: [a.text for a in found] for row, found in attempts_of(traces, tokenizer, verifier, {})}


def test_the_verifier_decides_and_traces_of_a_problem_stay_together(tmp_path, tokenizer, verifier):
    rows = [
        {"problem": "1+1", "answer": "2", "generation": "so \\boxed{2}"},
        {"problem": "2+2", "answer": "4", "generation": "so \\boxed{5}"},
        {"problem": "1+1", "answer": "2", "generation": "two: \\boxed{2}"},
        {"problem": "3+3", "answer": "6", "generation": ""},
        {"problem": "3+3", "answer": "6", "generation": None},
    ]
    path = written(tmp_path / "t.jsonl", rows)
    found = attempts(path, tokenizer, verifier, text="generation")
    assert found == {"1+1": ["so \\boxed{2}", "two: \\boxed{2}"]}


def test_records_of_an_evaluation_are_judged_by_their_verdict_and_never_by_the_answer_they_gave(
    tmp_path, tokenizer, verifier
):
    """`answer` of a record is what the model wrote: read as the reference, every record would be correct."""
    record = {"problem": "1+1", "gold": "2", "truncated": False}
    rows = [
        {**record, "text": "\\boxed{2}", "answer": "2", "correct": 1},
        {**record, "text": "\\boxed{3}", "answer": "3", "correct": 0},
        {**record, "text": "\\boxed{2} and on", "answer": "2", "correct": 1, "truncated": True},
        {**record, "text": "\\boxed{x}", "answer": "x", "correct": None},
    ]
    path = written(tmp_path / "records.jsonl", rows)
    assert attempts(path, tokenizer, verifier) == {"1+1": ["\\boxed{2}"]}
    bare = [{key: row[key] for key in ("problem", "gold", "answer", "text")} for row in rows]
    path = written(tmp_path / "bare.jsonl", bare)
    assert attempts(path, tokenizer, verifier) == {"1+1": ["\\boxed{2}", "\\boxed{2} and on"]}


@pytest.mark.parametrize("text", ["<think>\nwork\n</think>\n\\boxed{2}", "work\n</think>\n\\boxed{2}<eos>"])
def test_thinking_that_the_template_opens_is_not_opened_twice(tmp_path, tokenizer, verifier, text):
    tokenizer.chat_template = OPEN
    path = written(tmp_path / "t.jsonl", [{"problem": "1+1", "answer": "2", "text": text}])
    assert attempts(path, tokenizer, verifier) == {"1+1": ["work\n</think>\n\\boxed{2}"]}


def test_a_trace_with_an_end_token_inside_is_dropped(tmp_path, tokenizer, verifier):
    path = written(tmp_path / "t.jsonl", [{"problem": "1+1", "answer": "2", "text": "a<eos>b \\boxed{2}"}])
    assert attempts(path, tokenizer, verifier) == {}


def test_a_missing_column_is_named(tmp_path):
    path = written(tmp_path / "t.jsonl", [{"problem": "1+1", "answer": "2", "txt": "a"}])
    with pytest.raises(ConfigError, match="'text'.*'txt'"):
        read_traces(TracesSpec.of(path), 0, None, None)


def test_every_problem_has_one_rank(tmp_path):
    rows = [{"problem": f"{i % 3}+1", "answer": str(i % 3 + 1), "text": f"t{i}"} for i in range(7)]
    traces = read_traces(TracesSpec.of(written(tmp_path / "t.jsonl", rows)), 0, None, None)
    parts = [traces.of_rank(rank, 2) for rank in range(2)]
    assert [part.texts for part in parts] == [["t0", "t2", "t3", "t5", "t6"], ["t1", "t4"]]


@pytest.mark.parametrize("sft_loss", [None, {"name": "shad", "steps": 20, "share": 0.5}])
def test_a_stage_trains_on_a_file(tiny_model, tmp_path, sft_loss):
    """No engine is made, and SHAD's copy leaves the model alone."""
    rows = [
        {"problem": f"{i}+1", "answer": str(i + 1), "text": f"{i}+1={i + 1} so \\boxed{{{i + 1}}}"} for i in range(6)
    ]
    settings = {"disable_tqdm": True, "learning_rate": 1e-2}
    stage = {"name": "warm", "kind": "sft", "steps": 2, "batch_size": 2, "sft_loss": sft_loss}
    recipe = {
        "model_name_or_path": str(tiny_model),
        "run_dir": str(tmp_path / "run"),
        "gradient_checkpointing": False,
        "engine": "vllm_server",  # has no server here: traces need no engine
        "servers": ["http://127.0.0.1:9"],
        "verifier": {"workers": 1},
        "stages": [{**stage, "traces": written(tmp_path / "t.jsonl", rows), "settings": settings}],
    }
    checked = check_stage(Recipe.of(recipe).stages[0])
    trainer = train_cold_start(checked, None, tmp_path / "run", Start(resume=False))
    assert trainer.state.global_step == 2
    folder = checked.stage.folder
    assert len(json.loads((folder / "examples.json").read_text())) == 6
    before, after = load_file(tiny_model / "model.safetensors"), load_file(folder / "final" / "model.safetensors")
    assert any(not before[name].equal(after[name]) for name in after)
    if sft_loss:
        train = trainer.train_dataset
        flags = [flag for row in train for flag, weight in zip(row["reasoning"], row["weights"], strict=True) if weight]
        assert any(flags) and not all(flags), "two classes"
        trainer.train_dataset, again = None, train_cold_start(checked, None, tmp_path / "run", Start(resume=True))
        assert again.train_dataset["reasoning"] == train["reasoning"], "read again from the stage's folder"


def test_words_of_tokens():
    tokenizer = SimpleNamespace(decode=lambda ids: ["so", " the", "re", " ", "is", "2"][ids[0]])
    assert word_numbers(tokenizer, list(range(6))) == [0, 1, 1, 2, 3, 3]


def test_a_stage_that_reads_traces_states_no_samples():
    with pytest.raises(ConfigError, match=r"prompts.*traces"):
        ColdStart.of({"traces": "a.jsonl", "prompts": 3})
    assert ColdStart.of({"traces": "a.jsonl"}).to_dict() == {"traces": "a.jsonl"}
