"""The supervised stage's data and loss: ids that concatenate, weights, labels, and the registered losses."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM

from tersely.configs.recipe import Recipe
from tersely.core.build import build
from tersely.core.errors import ConfigError
from tersely.rl.check import check_stage
from tersely.rl.checkpoints.resume import Start
from tersely.rl.checkpoints.stopping import SavedAndStopped
from tersely.rl.sft.cold_start import Sampler, train_cold_start
from tersely.rl.sft.examples import tokens_and_weights
from tersely.rl.sft.settings import checked
from tersely.rl.sft.trainer import ColdStartTrainer, collate, sft_trainer
from tersely.rl.stages import finished

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant><think>\n{% endif %}"
)
PROMPT = [{"role": "user", "content": "1+1="}]


@pytest.fixture
def tokenizer(tiny_model):
    from tersely.engines.models import load_tokenizer

    return load_tokenizer(str(tiny_model))


def test_spans_concatenate_and_carry_their_weights(tokenizer):
    ids, weights, exempt = tokens_and_weights(tokenizer, PROMPT, [["ab", 0.0], ["cd", 2.0, True]])
    prompt = len(ids) - 5
    assert tokenizer.decode(ids[prompt:]) == "abcd<eos>" and weights == [0.0] * (prompt + 2) + [2.0, 2.0, 1.0]
    assert exempt == [False] * (prompt + 2) + [True, True, False]
    assert tokenizer.decode(ids[:prompt]).endswith("<assistant><think>\n")


def test_a_batch_has_labels_where_the_weight_is_not_zero():
    first = {"input_ids": [5, 6, 7], "weights": [0.0, 1.0, 2.0], "exempt": [False, False, True]}
    batch = collate([first, {"input_ids": [8], "weights": [1.0], "exempt": [False]}], 0)
    assert batch["exempt"].tolist() == [[False, False, True], [False] * 3]
    assert batch["labels"].tolist() == [[-100, 6, 7], [8, -100, -100]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]] and batch["input_ids"][1].tolist() == [8, 0, 0]


def loss_of(sft_loss, logits, labels, weights, items=None, exempt=None):
    trainer = SimpleNamespace(
        sft_loss=sft_loss,
        accelerator=SimpleNamespace(num_processes=1),
        args=SimpleNamespace(average_tokens_across_devices=True),
        _whole_step=None,
    )
    trainer._loss = lambda *a: ColdStartTrainer._loss(trainer, *a)
    trainer._outputs = lambda *a: ColdStartTrainer._outputs(trainer, *a)

    def model(labels, fused_lm_head, **_):
        assert fused_lm_head, "the logits of a whole batch are never laid out"
        logp = torch.log_softmax(logits[:, :-1], -1)
        chosen = logp.gather(2, labels[:, 1:].clamp(min=0).unsqueeze(2)).squeeze(2)
        entropy = -(logp.exp() * logp).sum(2)
        return SimpleNamespace(log_probs=chosen, entropy=entropy, label_mask=labels[:, 1:] != -100)

    exempt = torch.zeros_like(labels, dtype=torch.bool) if exempt is None else exempt
    inputs = {"input_ids": labels, "attention_mask": None, "labels": labels, "weights": weights, "exempt": exempt}
    return ColdStartTrainer.compute_loss(trainer, model, inputs, num_items_in_batch=items)


def test_the_loss_is_the_weighted_sum_over_the_tokens_of_the_step():
    torch.manual_seed(0)
    logits, labels = torch.randn(1, 4, 7), torch.tensor([[-100, 3, -100, 5]])
    weights = torch.tensor([[0.0, 1.0, 0.0, 2.0]])
    logp = torch.log_softmax(logits, -1)
    expected = -(logp[0, 0, 3] + 2 * logp[0, 2, 5])
    assert loss_of(None, logits, labels, weights).item() == pytest.approx(expected.item() / 2)
    assert loss_of(None, logits, labels, weights, items=8).item() == pytest.approx(expected.item() / 8)


@pytest.mark.parametrize("name", ["talr", "entropy_sft"])
def test_a_registered_loss_is_the_loss_of_a_whole_step(name):
    torch.manual_seed(1)
    logits, labels = torch.randn(2, 6, 7), torch.randint(0, 7, (2, 6))
    labels[1, 4:] = -100
    component = build("sft_loss", name)
    logp = torch.log_softmax(logits[:, :-1], -1)
    target, valid = labels[:, 1:], labels[:, 1:] != -100
    nll = -logp.gather(2, target.clamp(min=0).unsqueeze(2)).squeeze(2)
    _, expected = component(nll, -(logp.exp() * logp).sum(2), valid)
    assert loss_of(component, logits, labels, torch.ones(2, 6)).item() == pytest.approx(expected.item(), rel=1e-5)


def test_exempt_tokens_keep_their_weight_under_talr():
    torch.manual_seed(2)
    logits, labels = torch.randn(1, 4, 7), torch.tensor([[0, 3, 4, 5]])
    logp = torch.log_softmax(logits[0, :-1], -1)
    nll = torch.stack([-logp[i, labels[0, i + 1]] for i in range(3)])
    weights = (-nll / nll.mean()).exp().clamp(min=0.01)
    exempt = torch.tensor([[False, False, True, False]])
    weights[1] = 1.0  # labels are one ahead of the logits that predict them
    found = loss_of(build("sft_loss", "talr"), logits, labels, torch.ones(1, 4), exempt=exempt)
    assert found.item() == pytest.approx((weights * nll).mean().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"samples": 0}, "cold start samples.* 0"),
        ({"sampels": 2}, "sampels"),
        ({"rewrite": "sbtx"}, "rewrite.* 'sbtx'"),
        ({"sft_loss": "talrr"}, "talr"),
        ({"settings": {"learning_rat": 1}}, "learning_rat"),
        ({"traces": 3}, "traces.* 3"),
        ({"traces": {"path": "a.jsonl", "txt": "b"}}, "'txt'"),
        ({"traces": "testbed"}, "traces.*testbed"),
        ({"traces": "a.jsonl", "samples": 2}, "samples.*traces"),
        ({"sft_loss": {"name": "shad", "smooth": "words"}}, "smooth.*'word'"),
    ],
)
def test_what_is_refused(keys, message):
    recipe = {
        "model_name_or_path": "m",
        "run_dir": "r",
        "stages": [{"name": "warm", "kind": "sft", "steps": 1, **keys}],
    }
    with pytest.raises(ConfigError, match=message):
        (stage,) = Recipe.of(recipe).stages
        check_stage(stage)


class Judge:
    """Reads the problems, as a model that judges does; everything is right."""

    def __init__(self):
        self.problems = []

    def verify_rows(self, rows, texts):
        self.problems += [row["problem"] for row in rows]
        return [SimpleNamespace(correct=1.0) for _ in texts]


class Echo:
    """An engine that answers each request with `ok` and keeps the prompts."""

    def __init__(self, tokenizer):
        self.tokenizer, self.prompts, self.calls = tokenizer, [], 0

    def generate(self, requests, **_):
        from tersely.engines.base import Generation

        self.calls += 1
        self.prompts += [self.tokenizer.decode(request.prompt_ids) for request in requests]
        ids = (*self.tokenizer.encode("ok", add_special_tokens=False), self.tokenizer.eos_token_id)
        return [Generation(ids, None, "eos") for _ in requests]


def sampled(tokenizer, rows, monkeypatch, **kwargs):
    monkeypatch.setattr("tersely.rl.sft.cold_start.AT_ONCE", 4)
    engine, judge = Echo(tokenizer), Judge()
    sampler = Sampler(engine, tokenizer, judge, seed=0, cap=5, **kwargs)
    return sampler.attempts(rows, 2, 1.0), engine, judge


ROWS = [
    {"prompt": [{"role": "user", "content": f"{i}?"}], "problem": f"{i}?", "answer": "a", "prompt_id": f"p{i}"}
    for i in range(5)
]


def test_attempts_come_by_the_template_of_the_run_and_in_parts(tokenizer, monkeypatch):
    """A run without thinking must not be warmed up with it; and a long collection says that it gets on."""
    phases = []
    monkeypatch.setattr("tersely.rl.sft.cold_start.now", phases.append)
    tokenizer.chat_template = TEMPLATE.replace("<think>\n", "{{ '' if plain else '<think>\n' }}")
    found, engine, judge = sampled(tokenizer, ROWS, monkeypatch, template={"plain": True})
    assert [len(attempts) for attempts in found] == [2] * 5 and found[0][0].turn == "<assistant>ok"
    assert engine.prompts[0] == "<user>0?<assistant>" and engine.calls == 3 == len(phases)
    assert judge.problems == [f"{i}?" for i in range(5) for _ in range(2)]
    ids, _, _ = tokens_and_weights(tokenizer, PROMPT, [["ab", 1.0]], {"plain": True})
    assert tokenizer.decode(ids) == "<user>1+1=<assistant>ab<eos>"


def test_a_correct_trace_that_was_cut_by_the_cap_is_never_an_example(tokenizer, monkeypatch):
    """Whatever the verdict of the run counts: there is no end of it to learn."""

    def cut(self, requests, **_):
        from tersely.engines.base import Generation

        finishes = ["length", "eos", "length", "length"] * len(requests)
        return [Generation((1, 2, 3, 4, 5), None, finish) for _, finish in zip(requests, finishes, strict=False)]

    monkeypatch.setattr(Echo, "generate", cut)
    found, _, judge = sampled(tokenizer, ROWS[:2], monkeypatch)
    assert [len(attempts) for attempts in found] == [1, 0] and len(judge.problems) == 4


def test_a_rank_without_prompts_has_no_attempts(tokenizer, monkeypatch):
    assert sampled(tokenizer, [], monkeypatch)[0] == []


@pytest.fixture
def warm(tiny_model, tmp_path):
    """A cold start whose examples were collected before."""
    recipe = {
        "model_name_or_path": str(tiny_model),
        "run_dir": str(tmp_path),
        "gradient_checkpointing": False,
        "stages": [{"name": "warm", "kind": "sft", "steps": 2, "batch_size": 2, "settings": {"disable_tqdm": True}}],
    }
    (stage,) = Recipe.of(recipe).stages
    examples = [{"prompt_id": f"p{i}", "prompt": PROMPT, "kind": "plain", "spans": [[f"{i}", 1.0]]} for i in range(4)]
    assert stage.folder == tmp_path / "stages" / "1-warm"
    stage.folder.mkdir(parents=True)
    (stage.folder / "examples.json").write_text(json.dumps(examples))
    (stage.folder / "memory.json").write_text("{}")
    return check_stage(stage)


def test_a_cold_start_says_what_it_does(warm, tmp_path, monkeypatch):
    """Otherwise the watch takes a long one for a rank that is stuck, and ends the run."""
    phases = []
    monkeypatch.setattr("tersely.rl.recording.callbacks.now", phases.append)
    train_cold_start(warm, None, tmp_path, Start(resume=True))
    assert [phase for phase in phases if phase.startswith("step")] == ["step 1", "step 2"]
    assert finished(warm.stage)


def test_a_cold_start_that_is_asked_to_stop_saves_and_stops(warm, tmp_path, monkeypatch):
    monkeypatch.setattr("tersely.rl.checkpoints.save_on_signal.request", lambda needed_s: "requested")
    with pytest.raises(SavedAndStopped, match="saved checkpoint-1 in .*1-warm and stopped: requested"):
        train_cold_start(warm, None, tmp_path, Start(resume=True))
    monkeypatch.undo()
    trainer = train_cold_start(warm, None, tmp_path, Start(resume=True))
    assert trainer.state.global_step == 2 and finished(warm.stage)


@pytest.mark.parametrize("sft_loss", ["talr", {"name": "talr", "normalize": True}, None])
def test_the_cut_of_a_step_does_not_change_it(tiny_model, tmp_path, sft_loss):
    """talr's tau and its mean weight are those of the whole step, whatever the micro-batches."""
    weights = []
    for number, (size, accumulation) in enumerate([(4, 1), (2, 2), (1, 4)]):
        settings = {"disable_tqdm": True, "gradient_accumulation_steps": accumulation, "learning_rate": 1e-2}
        warm = {"name": "warm", "kind": "sft", "steps": 1, "batch_size": size, "sft_loss": sft_loss}
        recipe = {"model_name_or_path": str(tiny_model), "run_dir": str(tmp_path / str(number))}
        stages = [{**warm, "settings": {**settings, "optim": "sgd", "max_grad_norm": 0.0}}]
        (stage,) = Recipe.of({**recipe, "gradient_checkpointing": False, "stages": stages}).stages
        examples = [{"prompt": PROMPT, "spans": [["a" * (3 * i + 1) + "9+", 1.0]]} for i in range(4)]
        stage.folder.mkdir(parents=True)
        trainer, _ = sft_trainer(
            stage, checked(stage.cold_start), examples, tmp_path / str(number), Start(resume=False)
        )
        trainer.train()
        weights.append(torch.cat([p.detach().flatten() for p in trainer.model.parameters()]))
    before = AutoModelForCausalLM.from_pretrained(tiny_model, dtype="float32")
    moved = (torch.cat([p.detach().flatten() for p in before.parameters()]) - weights[0]).abs().max()
    assert moved > 1e-4
    for other in weights[1:]:
        torch.testing.assert_close(other, weights[0], atol=1e-6, rtol=1e-4)


def test_normalize_divides_by_the_mean_weight(tiny_model):
    torch.manual_seed(3)
    nll, mask = 3 * torch.rand(2, 5), torch.ones(2, 5)
    weights, whole = build("sft_loss", {"name": "talr", "normalize": True})(nll, None, mask)
    assert whole.item() == pytest.approx(((weights * nll).sum() / weights.sum()).item(), rel=1e-5)
