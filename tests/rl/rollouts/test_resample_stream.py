"""Replaced while others run, the batch is the one that rounds make: same prompts, same texts, same refusals."""

from __future__ import annotations

import dataclasses
import random
import time

import pytest
from support.tiny import watched

from tersely.engines.base import Engine, Generation
from tersely.engines.registry import Capabilities
from tersely.engines.server.scheduler import Stream
from tersely.rl.rollouts.resample_streaming import can_stream

MIXED = {"filter": "mixed_groups", "group_size": 2, "prompts_per_step": 8, "reward": "correctness"}


def drawn(request) -> Generation:
    generator = random.Random(f"{request.seed} {request.prompt_ids}")
    return Generation(tuple(generator.randrange(65, 91) for _ in range(generator.randrange(1, 12))), None, "eos")


class InRounds(Engine):
    """Answers by prompt and seed alone."""

    capabilities = Capabilities()

    def generate(self, requests, **sampling):
        return [drawn(request) for request in requests]

    def close(self): ...


class Streaming(InRounds):
    """The same, one by one, in an order of its own."""

    capabilities = Capabilities(streaming=True)

    def stream(self, **sampling):
        def ask(address, request):
            time.sleep(random.random() * 0.02)
            return drawn(request)

        return Stream(["http://a", "http://b"], ask, concurrency=2, down={})

    def used(self, stream):
        self.shares = (stream.busy_s, stream.ended - stream.began)


def one_batch(trainer):
    trainer.model.train()
    trainer.state.max_steps, trainer.current_gradient_accumulation_steps = 2, trainer.args.gradient_accumulation_steps
    trainer.seen = watched(trainer)
    trainer.make_batch(trainer.prompts.at(0))
    return trainer


@pytest.mark.parametrize("rounds", [1, 3])
def test_the_batch_is_the_one_that_rounds_make(make_trainer, rounds):
    made = [
        one_batch(make_trainer(**MIXED, max_resample_rounds=rounds, engine=engine))
        for engine in (InRounds(), Streaming())
    ]
    in_rounds, streamed = made
    assert in_rounds.logged_rows == streamed.logged_rows
    assert (
        in_rounds.seen.sampled.resampling == streamed.seen.sampled.resampling
        and streamed.seen.sampled.resampling.groups > 0
    )
    for name in ("groups/resampled", "groups/resample_rounds", "groups/kept"):
        assert in_rounds._metrics["train"][name] == streamed._metrics["train"][name]


def test_a_training_set_that_runs_out_ends_it(make_trainer):
    class Never:
        def verify(self, golds, texts):
            return [type("V", (), {"status": "incorrect", "correct": 0.0, "answer": None})() for _ in texts]

    streamed = one_batch(make_trainer(**MIXED, max_resample_rounds=9, verifier=Never(), engine=Streaming()))
    assert (streamed.seen.sampled.resampling.groups, streamed.seen.sampled.resampling.rounds) == (24, 3)
    assert not streamed.seen.scores.keep.any()


def test_groups_that_straddle_ranks_and_filters_of_whole_batches_wait_for_rounds(make_trainer):
    trainer = make_trainer(**MIXED, max_resample_rounds=1, engine=Streaming())
    assert can_stream(trainer.maker, 16) and not can_stream(trainer.maker, 15)
    of_the_batch = type("OfTheBatch", (), {"scope": "batch"})()
    objective = dataclasses.replace(trainer.objective, filter=of_the_batch)
    assert not can_stream(dataclasses.replace(trainer.maker, objective=objective), 16)
