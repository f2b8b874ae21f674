"""Token-balanced micro-batches train as TRL's own do, with less padding: same loss, same gradient, on one rank and on two."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.properties import examples
from transformers import TrainerCallback

from tersely.core.build import build
from tersely.engines.base import Engine
from tersely.engines.registry import Capabilities
from tersely.rl.update.micro_batches import START_COST, cut, why_not, windows_of

INDEPENDENT = ["clip", "sapo", "cispo", "gspo", "gmpo", "dcpo", {"name": "kl_penalty", "beta": 0.1}]
TIED_TO_THE_CUT = ["hapo", "high_entropy_mask", "clip_cov", "kl_cov", "bapo", "tea_rl", "archer"]


class Uneven(Engine):
    """An engine whose completions differ widely in length; by the seed of the sample alone."""

    capabilities = Capabilities()

    def generate(self, requests, **_):
        from tersely.engines.base import Generation

        drawn = []
        for request in requests:
            g = np.random.default_rng(request.seed)
            length = int(min(request.max_new_tokens, 1 + g.lognormal(1.5, 1.0)))
            drawn.append(Generation(tuple(g.integers(0, 200, length).tolist()), None, "length"))
        return drawn

    def facts(self):
        return {}

    def close(self):
        pass


def update(trainer):
    """Loss, gradient and micro-batches with rows of each optimiser step of one generation batch, as training makes them."""
    trainer.model.train()
    trainer.state.max_steps, every = 4, trainer.args.gradient_accumulation_steps
    trainer.current_gradient_accumulation_steps = every
    torch.manual_seed(7)
    loader, steps, tokens = iter(trainer.get_train_dataloader()), [], 0
    for _ in range(trainer.args.steps_per_generation // every):
        trainer.model.zero_grad()
        total = 0.0
        for _ in range(every):
            number, place = next(loader)[0], trainer.micro_step % trainer.args.steps_per_generation
            if place == 0:
                made = trainer.cut(trainer.make_batch(trainer.prompts.at(number)))
            if made.idle[place]:
                trainer.skip_micro_step()
                continue
            found = made.parts[place]
            old = found["completion_ids"].double().cos().float() * 0.3  # moved by the token, whatever the cut
            logps = moved_logps(trainer, found)
            loss = trainer.loss(trainer.model, {**found, "old_per_token_logps": logps + old})
            loss.backward()
            total += loss.item()
            tokens += found["completion_mask"].sum(1).max().item() * len(found["completion_mask"])
            trainer.skip_micro_step()
        gradient = torch.cat([p.grad.flatten() for p in trainer.model.parameters()])
        steps.append((total, gradient.clone()))
    return steps, tokens


def moved_logps(trainer, inputs):
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
    mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
    with torch.no_grad():
        keep = inputs["completion_ids"].shape[1]
        return trainer.token_log_probs(trainer.model, ids, mask, keep)[0]


@pytest.mark.parametrize("aggregate", ["token", "sequence", "constant", "sequence_sum"])
@pytest.mark.parametrize("schedule", [{}, {"updates_per_batch": 2}, {"micro_batch": 2}], ids=str)
def test_loss_and_gradient_are_those_of_the_unplanned_update(make_trainer, aggregate, schedule):
    results = []
    for planned in (True, False):
        trainer = make_trainer(
            engine=Uneven(), micro_batching=planned, aggregate=aggregate, max_completion_length=60, group_size=2,
            prompts_per_step=8, filter="mixed_groups", **schedule,
        )  # fmt: skip
        results.append(update(trainer))
    (ours, tokens), (theirs, padded) = results
    assert tokens < padded
    for (loss, gradient), (expected, reference) in zip(ours, theirs, strict=True):
        assert loss == pytest.approx(expected, abs=1e-5)
        torch.testing.assert_close(gradient, reference, atol=1e-5, rtol=1e-5)
    assert max(gradient.abs().max() for _, gradient in theirs) > 1e-3


@pytest.mark.parametrize("loss_fn", INDEPENDENT, ids=str)
def test_every_policy_that_does_not_depend_on_the_cut(make_trainer, loss_fn):
    results = []
    for planned in (True, False):
        trainer = make_trainer(
            engine=Uneven(), micro_batching=planned, loss=loss_fn, group_size=2, prompts_per_step=8,
            max_completion_length=40,
        )  # fmt: skip
        assert (trainer.micro_batches.reason is None) is planned
        results.append(update(trainer)[0])
    for (loss, gradient), (expected, reference) in zip(*results, strict=True):
        assert loss == pytest.approx(expected, abs=1e-5)
        torch.testing.assert_close(gradient, reference, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("loss_fn", TIED_TO_THE_CUT)
def test_a_policy_of_micro_batch_statistics_keeps_the_cut_and_says_so(loss_fn):
    spec = {"name": loss_fn, "kl_coefficient": 0.1} if loss_fn == "archer" else loss_fn
    assert "micro_batching: always" in why_not(True, build("loss", spec))
    assert why_not("always", build("loss", spec)) is None
    wrapped = build("loss", {"name": "kl_penalty", "base": spec})
    assert "statistics of the micro-batch" in why_not(True, wrapped)


def test_other_reasons_to_keep_the_cut():
    clip = build("loss", "clip")
    assert why_not(True, clip) is None
    assert why_not(True, build("loss", {"name": "hapo", "statistics": "step"})) is None
    assert "false" in why_not(False, clip)
    assert "TRL's own loss" in why_not(True, clip, trl_loss=True)
    assert "auxiliary" in why_not(True, clip, aux_loss=True)


def test_rows_with_a_kl_or_an_entropy_term_stay(make_trainer):
    for loss_fn, left_out in (("clip", True), ({"name": "kl_penalty", "beta": 0.1}, False)):
        trainer = make_trainer(engine=Uneven(), loss=loss_fn, group_size=2, prompts_per_step=8)
        update(trainer)
        share = trainer._metrics["train"]["update/rows_left_out"][0]
        assert (share > 0) == left_out


def test_a_batch_without_any_signal_still_takes_its_steps(make_trainer):
    class EverythingRight:
        def verify(self, golds, texts):
            return [type("V", (), {"status": "correct", "correct": 1.0, "answer": None})() for _ in texts]

    trainer = make_trainer(verifier=EverythingRight(), micro_batch=2)
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    trainer.train()
    assert trainer.state.global_step == 2
    assert trainer.state.log_history[0]["update/rows_left_out"] == 1.0
    assert all(torch.equal(before[k], v) for k, v in trainer.model.state_dict().items())


@pytest.mark.parametrize("planned", [True, False])
def test_a_step_without_training_rows_moves_nothing_although_the_optimizer_has_momentum(make_trainer, planned):
    class AllRightAfterTheFirst:
        calls = 0

        def verify(self, golds, texts):
            self.calls += 1
            right = [1.0 if self.calls > 1 else float(i % 2) for i in range(len(texts))]
            return [
                type("V", (), {"status": "correct" if r else "incorrect", "correct": r, "answer": None})()
                for r in right
            ]

    trainer = make_trainer(verifier=AllRightAfterTheFirst(), micro_batch=2, micro_batching=planned, weight_decay=0.1)
    weights = []

    class Keep(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            weights.append(torch.cat([p.detach().flatten().clone() for p in trainer.model.parameters()]))

    trainer.add_callback(Keep())
    trainer.train()
    first, second = weights
    assert torch.equal(first, second) and trainer.optimizer.state  # moments are there, and would move them
    assert [row["update/steps_without_rows"] for row in trainer.state.log_history[:2]] == [0, 1]


@examples(200)
@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(1, 5), st.integers(0, 2**40))
def test_windows_are_equal_in_rows_on_any_number_of_ranks_and_even_in_trained_rows(blocks, windows, seed):
    trains = [one for one in blocks for _ in range(windows)]
    trains = [t and (i * 7 + seed) % 3 > 0 for i, t in enumerate(trains)]
    found = windows_of(trains, windows, seed)
    for block in range(len(blocks)):  # so for every number of ranks that divides the batch
        assert sorted(found[block * windows : (block + 1) * windows]) == list(range(windows))
    trained = [sum(t for t, w in zip(trains, found, strict=True) if w == number) for number in range(windows)]
    assert max(trained) - min(trained) <= 1
    assert found == windows_of(trains, windows, seed)


def test_windows_depend_on_the_seed():
    assert len({tuple(windows_of([True] * 40, 4, seed)) for seed in range(10)}) == 10


def test_hapo_with_statistics_of_the_step_sees_the_whole_batch(make_trainer):
    results = []
    for planned, micro_batch in ((True, 4), (False, 4), (False, 8)):
        trainer = make_trainer(
            engine=Uneven(), micro_batching=planned, loss={"name": "hapo", "statistics": "step"},
            micro_batch=micro_batch, group_size=2, prompts_per_step=8, max_completion_length=40,
        )  # fmt: skip
        results.append(update(trainer)[0])
    for other in results[1:]:
        for (loss, gradient), (expected, reference) in zip(results[0], other, strict=True):
            assert loss == pytest.approx(expected, abs=1e-5)
            torch.testing.assert_close(gradient, reference, atol=1e-5, rtol=1e-5)


@examples(120)
@given(st.lists(st.tuples(st.integers(1, 500), st.integers(1, 60)), min_size=1, max_size=24), st.integers(1, 6))
def test_a_cut_keeps_every_row_once_under_the_budget_and_the_count(rows, micro_batch):
    completion, prompt = [c for c, _ in rows], [p for _, p in rows]
    budget, at_most = micro_batch * (max(completion) + max(prompt)), -(-len(rows) // micro_batch)
    parts = cut(completion, prompt, budget, at_most)
    assert sorted(itertools.chain(*parts)) == list(range(len(rows)))
    assert 1 <= len(parts) <= at_most
    assert all(padded(part, completion, prompt) <= budget for part in parts)


def padded(part, completion, prompt):
    return len(part) * (max(completion[i] for i in part) + max(prompt[i] for i in part))


def test_the_cut_is_the_cheapest_of_all():
    g = np.random.default_rng(0)
    for _ in range(20):
        completion, prompt = g.integers(1, 2000, 8).tolist(), g.integers(1, 50, 8).tolist()
        order = sorted(range(8), key=lambda i: -completion[i])
        costs = []
        for marks in itertools.product([0, 1], repeat=7):
            starts = [0, *(i + 1 for i, mark in enumerate(marks) if mark), 8]
            parts = [order[a:b] for a, b in itertools.pairwise(starts)]
            costs.append(sum(padded(p, completion, prompt) + START_COST for p in parts))
        parts = cut(completion, prompt, 10**9, 8)
        assert sum(padded(p, completion, prompt) + START_COST for p in parts) == min(costs)


def test_no_rows_need_no_micro_batch():
    assert cut([], [], 100, 4) == []


def test_bapo_searches_over_all_ranks(make_trainer):
    trainer = make_trainer(
        engine=Uneven(), loss={"name": "kl_penalty", "base": "bapo"}, group_size=2, prompts_per_step=8
    )
    update(trainer)
    assert "statistics" in trainer.micro_batches.reason
    sums = torch.tensor([1.0, 2.0])
    assert torch.equal(trainer.objective.loss.base.all_reduce(sums), sums)
