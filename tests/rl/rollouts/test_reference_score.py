"""Reference scores: the splices, the span of the reference, and a trainer that trains on them."""

from __future__ import annotations

import logging

import pytest
import torch
from support.tiny import watched

from tersely.algorithms.prompting.rlpr import RLPRFormat
from tersely.rl.rollouts.reference_score import boxed_splice, piece, tags_head

OPEN = "<assistant><think>\n"
TAGS = RLPRFormat()
BOX = RLPRFormat(instruction="", opening="\\boxed{", closing="}", space="")


def test_the_splice_of_a_well_formed_rollout_keeps_its_own_space():
    text = "two and two</think> <answer>\n5 </answer>"
    assert tags_head(OPEN + text, text, TAGS) == "two and two</think> <answer>\n"
    text = "z</think><answer>5</answer>"
    assert tags_head(OPEN + text, text, TAGS) == "z</think><answer> "


def test_a_malformed_rollout_is_closed_and_its_own_answer_left_out():
    assert tags_head(OPEN + "still think", "still think", TAGS) == "still think</think> <answer> "
    assert tags_head(OPEN + "z</think> It is 5.", "z</think> It is 5.", TAGS) == "z</think> <answer> "


def test_a_model_that_answers_in_boxes_is_cut_at_the_box():
    text = "z</think>\nSo \\boxed{\\frac{1}{2}}"
    assert tags_head(OPEN + text, text, BOX) == "z</think>\nSo \\boxed{"
    assert tags_head(OPEN + "z", "z", BOX) == "z</think>\\boxed{"


def test_the_likelihood_is_taken_in_the_models_own_box():
    assert boxed_splice("z</think><answer>\n5</answer>", TAGS) == ("z</think><answer> \\boxed{ ", " } </answer>")
    assert boxed_splice("<answer></think>\nSo \\boxed{5}.", BOX) == ("<answer></think>\nSo \\boxed{", "}")
    assert boxed_splice("an early \\boxed{5}</think>\n", BOX) is None, "a box in the thinking is no answer"
    assert boxed_splice("z", TAGS) is None


def test_the_reference_is_found_by_offsets(make_trainer):
    tokenizer = make_trainer()._tokenizer
    made = piece(tokenizer, "z</think> <answer> ", "42", " </answer>")
    inside = [token for token, mark in zip(made.ids, made.reference, strict=True) if mark]
    assert tokenizer.decode(inside) == "42"
    assert not any(piece(tokenizer, "a", "", "b").reference)


def rlpr(make_trainer, **recipe):
    return make_trainer(prompting="rlpr", reward="rlpr", advantage="group_zscore", filter="rlpr_std", **recipe)


def test_the_scores_are_the_probabilities_of_a_plain_forward_pass(make_trainer):
    trainer = rlpr(make_trainer)
    trainer.model.train()
    trainer.state.max_steps, trainer.current_gradient_accumulation_steps = 2, 1
    seen = {}
    score = trainer.objective.score
    object.__setattr__(
        trainer.objective, "score", lambda rollouts, *rest: seen.update(r=rollouts) or score(rollouts, *rest)
    )
    made = watched(trainer)
    trainer.make_batch(trainer.prompts.at(0))
    batch, tokenizer = made.sampled.rollouts, trainer.processing_class
    for i in (0, 5, 15):
        head = tags_head(batch.template.tail + batch.texts[i], batch.texts[i], TAGS)
        before = [*batch.prompt_ids[i], *tokenizer(head, add_special_tokens=False)["input_ids"]]
        answer = tokenizer(batch.rows[i]["answer"], add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = trainer.model(torch.tensor([before + answer])).logits[0, len(before) - 1 : -1]
        p = torch.softmax(logits.float(), -1)[range(len(answer)), answer].mean().item()
        assert seen["r"].reference_score[i].item() == pytest.approx(p, rel=1e-4)
    base = seen["r"].reference_base
    assert torch.equal(base.view(-1, 4), base.view(-1, 4)[:, :1].expand(-1, 4))
    assert not seen["r"].repeated.any()
    assert len(trainer.memory.records) == len(set(trainer.train_dataset["prompt_id"]))


@pytest.mark.parametrize("method", ["rlpr", "verifree"])
def test_a_run_trains_on_it(make_trainer, method):
    if method == "rlpr":
        trainer = rlpr(make_trainer)
    else:
        trainer = make_trainer(prompting="rlpr", reward={"name": "verifree", "max_tokens": 20}, advantage="rloo")
    trainer.train()
    last = [row for row in trainer.state.log_history if "loss" in row][-1]
    if method == "rlpr":
        assert 0 < last["reference/score"] < 1 and 0 < last["reference/base"] < 1
        assert trainer.objective.filter.step == 2
    else:
        assert all(row["reward"] == 0 for row in trainer.logged_rows)  # no rollout of random bytes opens an answer


def test_the_base_is_taken_once_with_the_first_policy(make_trainer, caplog):
    trainer = rlpr(make_trainer)
    with caplog.at_level(logging.INFO, logger="tersely.rl.rollouts.reference_score"):
        trainer.train()
    assert caplog.text.count("without reasoning, once") == 1
    kept = {prompt: record["reference_base"] for prompt, record in trainer.memory.records.items()}
    rows = list(trainer.train_dataset.select(range(4)))
    now = trainer.references.without_reasoning(rows)
    assert any(abs(kept[row["prompt_id"]] - value) > 1e-9 for row, value in zip(rows, now, strict=True))


def test_nothing_is_computed_where_nobody_asks(make_trainer):
    trainer = make_trainer()
    assert trainer.references.fields(trainer.maker.begin(trainer.prompts.at(0)), trainer.moment) == {}
