"""A trained model carries its prompting, and everything renders it the same way."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from tersely.algorithms import PROMPTING
from tersely.core.errors import ConfigError
from tersely.data import parse_sources
from tersely.engines.chat import FILE, Prompting, prompt_ids, prompt_text, read_prompting, variable_warnings
from tersely.engines.models import load_tokenizer
from tersely.eval.engines import transformers_evaluator
from tersely.launch.cli.eval import main
from tersely.rl.trained_prompting import settled_prompting, trained_prompting

SWITCH = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>"
    "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}{% endif %}"
)
CHAT = [{"role": "user", "content": "1+1"}]


def test_saved_next_to_every_set_of_weights(make_trainer, tmp_path):
    trainer = make_trainer(
        run_dir=str(tmp_path / "run"),
        max_steps=2,
        save_strategy="steps",
        save_steps=1,
        instruction="Be brief.",
        system_prompt="You count.",
    )
    trainer.train()
    trainer.save_final(tmp_path / "run" / "final")
    trainer.grader.close()
    expected = Prompting("You count.", "Be brief.")
    places = [*(tmp_path / "run").glob("checkpoint-*"), tmp_path / "run" / "final"]
    assert len(places) >= 3 and all(read_prompting(place) == expected for place in places)
    assert FILE in json.loads((places[-1] / "tersely_manifest.json").read_text())["files"]


def test_eval_prompts_as_trained_unless_told_otherwise(tiny_model, tmp_path, capsys):
    import shutil

    model = shutil.copytree(tiny_model, tmp_path / "model")
    tokenizer = load_tokenizer(str(model))
    tokenizer.chat_template = SWITCH
    tokenizer.save_pretrained(model)
    trained = Prompting("You count.", "Be brief.", {"enable_thinking": False}, "Use few words.", "Well")
    trained.save(model)
    problems = tmp_path / "sums.jsonl"
    problems.write_text('{"problem": "1+1", "answer": "2"}\n')
    common = ["--benchmarks", str(problems), "--samples", "1", "--max-new-tokens", "2"]

    def settings(name, *more):
        assert main([str(model), *common, "--out", str(tmp_path / name), *more]) == 0
        return json.loads((tmp_path / name / "run.json").read_text())["settings"]["sums"]

    own = settings("own")
    assert "prompt: as trained" in capsys.readouterr().out
    assert (own["system_prompt"], own["instruction"]) == ("You count.", "Be brief.")
    assert own["chat_template_kwargs"] == {"enable_thinking": False} and own["prefill"] == "Well"
    other = settings("other", "--chat-template-kwargs", "{enable_thinking: true}", "--instruction", "Count.")
    assert "overridden by --instruction, --chat-template-kwargs" in capsys.readouterr().out
    assert other["instruction"] == "Count." and other["chat_template_kwargs"] == {"enable_thinking": True}
    plain = settings("plain", "--prompting", "none")
    assert plain["instruction"] is None and not plain["chat_template_kwargs"]
    assert len({own["hash"], other["hash"], plain["hash"]}) == 3
    main([str(model), *common, "--out", str(tmp_path / "x"), "--chat-template-kwargs", "{enable_thinkng: true}"])
    assert "'enable_thinking'" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="--chat-template-kwargs: got"):
        settings("y", "--chat-template-kwargs", "false")
    with pytest.raises(ConfigError, match="--prompting: got"):
        settings("z", "--prompting", str(tmp_path / "nowhere"))

    evaluator = transformers_evaluator(str(model))
    try:
        assert tokenizer.decode(evaluator.render(CHAT)) == "<user>1+1\nUse few words.<assistant><think></think>Well"
    finally:
        evaluator.engine.close()
        evaluator.verifier.close()


def test_rollouts_and_held_out_evaluation_render_the_same(make_trainer):
    from tersely.configs.evaluation import EvaluationSpec
    from tersely.rl.held_out_evaluation import HeldOutEvaluation

    trainer = make_trainer(chat_template_kwargs={"x": 1})
    row = {"prompt": CHAT, "prompt_id": "a", "problem": "1+1", "answer": "2"}
    evaluation = HeldOutEvaluation(EvaluationSpec(1, ()), trainer.trained_model(), [row], None, trainer.guards)
    held_out, tokenizer = evaluation._request(0, 0, 0).prompt_ids, trainer.processing_class
    assert list(held_out) == prompt_ids(tokenizer, CHAT, {"x": 1})
    text = prompt_text(tokenizer, CHAT)
    assert tokenizer.encode(text, add_special_tokens=False) == list(held_out)


def test_only_a_plan_that_asks_every_rollout_for_the_same_is_carried():
    for name, settled in (("plain", False), ("lapo_target", False), ("hbpo", False), ("autothink", True)):
        instruction, prefill = settled_prompting(PROMPTING[name](), 8)
        assert bool(instruction or prefill) is settled, name


def test_the_trained_instruction_is_the_sources_own_where_they_agree():
    def of(dataset, instruction=None):
        run = SimpleNamespace(system_prompt=None, instruction=instruction, dataset=parse_sources(dataset), group_size=4)
        return trained_prompting(run, SimpleNamespace(chat_template_kwargs=None)).instruction

    assert of("testbed") == "" and of({"path": "a.jsonl", "instruction": "Go."}) == "Go."
    assert of([{"path": "a.jsonl", "instruction": "Go."}, {"path": "b.jsonl"}]) is None
    assert of([{"path": "a.jsonl"}, "testbed"], "Mine.") == "Mine."


def test_template_variables_are_read_from_the_template():
    tokenizer = SimpleNamespace(chat_template=SWITCH, special_tokens_map={})
    assert variable_warnings(tokenizer, {"enable_thinking": True}) == []
    assert "'enable_thinking'" in variable_warnings(tokenizer, {"thinking": True})[0].fix
    tokenizer.chat_template = "{% generation %}{{ messages[0].content }}{% endgeneration %}"
    assert "no variables" in variable_warnings(tokenizer, {"enable_thinking": True})[0].fix


def test_a_prompting_file_that_is_not_one_is_an_error(tmp_path):
    (tmp_path / FILE).write_text("[1]")
    with pytest.raises(ConfigError, match="system_prompt"):
        read_prompting(tmp_path)
