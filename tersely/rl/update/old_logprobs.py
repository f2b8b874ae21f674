"""Log-probs and entropies of the sampling policy, with a separate pass before the update only if needed.

Before the update, over all rows:
    entropies that a component needs (`needs`): rewards, advantages, filters, samplings, losses with statistics of the
        whole step
    old log-probs, if a batch has several optimizer steps
Everything else can wait for the update's forward passes: guards and controllers use the step's entropies at its end, and the
log-prob mismatch must be known before the weights change. So with one optimizer step per batch
    trained rows         use the update's own forward passes; their old log-probs are the same, so the ratio is exactly 1
    rows left out        get one forward pass without a gradient, only if something needs the result
and no row goes through the model twice. Passes without a gradient are split by length like the update.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor

from tersely.rl.controllers import statistics_of
from tersely.rl.guards.mismatch import gap, over_ranks
from tersely.rl.recording.metrics import OF_TRAINED, StepMetrics
from tersely.rl.rollouts.rollout import SAMPLED
from tersely.rl.rollouts.sampling_state import SamplingState
from tersely.rl.update.micro_batches import cut
from tersely.rl.update.padding import fit_columns


@dataclass(frozen=True)
class PassByLength:
    """Passes over the rows of a batch in parts of similar length, none with more padded tokens than TRL's micro-batch.

    `log_probs(model, ids, mask, columns, entropy=...)` is one forward pass; `rows` is the micro-batch.
    """

    log_probs: Callable[..., tuple[Tensor, Tensor | None, Tensor | None]]
    accelerator: Any
    rows: int

    def __call__(
        self, model: Any, batch: Mapping[str, Tensor], rows: Sequence[int] | None = None, *, entropy: bool = True
    ) -> tuple[Tensor, Tensor]:
        """(n, T) log-probs and entropies of these rows (default: all), 0 elsewhere. Every rank does as many passes as the
        busiest one. Collective. Without `entropy` the second is 0 everywhere, as for TRL's reference models."""
        ids, mask = (
            torch.cat([batch[f"prompt_{kind}"], batch[f"completion_{kind}"]], dim=1) for kind in ("ids", "mask")
        )
        columns, rows = batch["completion_ids"].shape[1], range(len(ids)) if rows is None else rows
        completion, prompt = (batch[f"{part}_mask"].sum(1).tolist() for part in ("completion", "prompt"))
        parts = cut([completion[r] for r in rows], [prompt[r] for r in rows], self.rows * ids.shape[1], len(ids))
        mine = [[rows[i] for i in part] for part in parts]
        most = int(self.accelerator.gather(torch.tensor([len(mine)], device=ids.device)).max())
        shortest = min(range(len(ids)), key=lambda row: prompt[row] + completion[row])
        logps, entropies = (ids.new_zeros((len(ids), columns), dtype=torch.float32) for _ in range(2))
        before = ids.shape[1] - columns
        for part in [*mine, *[[shortest]] * (most - len(mine))]:
            length = max(1, *(completion[row] for row in part))
            window = slice(before - max(prompt[row] for row in part), before + length)
            found = self.log_probs(model, ids[part][:, window], mask[part][:, window], length, entropy=entropy)
            logps[part, :length] = found[0].float()
            if found[1] is not None:
                entropies[part, :length] = found[1].float()
        return logps, entropies


@dataclass
class Observation:
    """Collects entropies and log-prob mismatch from the passes over one generation batch.

    The entropies go to `statistics`; `judge` checks the mismatch once.
    """

    statistics: StepMetrics
    sampling_state: SamplingState
    judge: Callable[[dict[str, float]], None]
    gap_is_due: bool
    from_update: bool
    """True if the update's passes provide the values; otherwise an earlier pass did, or nothing needs them."""
    gaps: list[dict[str, float]] = field(default_factory=list)

    def see(self, rows: Mapping[str, Any], logps: Tensor, entropies: Tensor) -> None:
        """Add rows of the batch: entropies of the sampled tokens, and their gap to the engine's log-probs."""
        mask = rows["completion_mask"]
        width = mask.shape[1]
        valid = mask.bool() & (torch.arange(width, device=mask.device) >= rows["prefill"].unsqueeze(1))
        if "forced" in rows:
            valid = valid & ~rows["forced"]
        self.statistics.add_entropies(fit_columns(entropies, width), valid, rows["correct"])
        if self.gap_is_due:
            self.gaps.append(gap(rows[SAMPLED], fit_columns(self.sampling_state.logp(logps, entropies), width), mask))

    def end(self) -> None:
        """Check the mismatch after all rows; the run stops if the engine has other weights. Collective."""
        if self.gap_is_due:
            measured = over_ranks(gather_object(self.gaps))
            self.gaps, self.gap_is_due = [], False
            self.judge(measured)


def entropy_is_read(controllers: Iterable[Any], guards: Iterable[Any]) -> bool:
    """True if a controller uses the entropy of all rows of a step."""
    read = [name for controller in controllers for name in statistics_of(controller)]
    read += [name for guard in guards for name in guard.statistics]
    return any(name.split("/")[0] == "entropy" and name != OF_TRAINED for name in read)
