"""Generates a batch with the recipe's resampling: none, oversampling, or in rounds."""

from __future__ import annotations

from tersely.rl.recording.recorder import Recorder
from tersely.rl.rollouts.maker import Moment, Resampling, RolloutMaker
from tersely.rl.rollouts.oversample import Oversampling, oversample
from tersely.rl.rollouts.resample import resample
from tersely.rl.rollouts.rollout import RolloutRound
from tersely.rl.rollouts.sampling_state import SamplingState


def sample(
    maker: RolloutMaker,
    batch: RolloutRound,
    moment: Moment,
    sampling_state: SamplingState,
    rounds: int,
    oversampling: Oversampling,
    record: Recorder,
) -> Resampling:
    """Generate `batch` and start to verify it, in place. `rounds`: the recipe's max_resample_rounds. Collective."""
    rows = len(batch.rows)
    with record.timed("time/generate"):
        if oversampling.on:
            done = oversample(maker, batch, moment, sampling_state, oversampling)
        else:
            requests = maker.requests(batch, moment, first_row=maker.shape.rank * rows)
            batch.finish(maker.generate(batch, requests, sampling_state))
            maker.grader.start(batch.rows, batch.texts)
            done = Resampling()
    if not rounds:
        return done
    with record.timed("time/resample"):
        return resample(maker, batch, moment, sampling_state, rounds, done)
