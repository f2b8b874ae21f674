"""Log-probs and entropies of the policy that sampled a batch: a separate pass before the update only where it is needed.

Before the update, over all rows:
    entropies that a component asks for (`needs`): rewards, advantages, filters, samplings, losses with statistics of the
        whole step
    old log-probs, where a batch makes several optimizer steps
Everything else may wait until the update has read the batch: the entropies of the step are for guards and controllers,
which judge at its end, and the gap to the engine has to be known before the weights move. So with one optimizer step a batch
    rows that train      come from the update's own forward passes; their old log-probs are those, and the ratio is exactly 1
    rows that it leaves out    get one forward pass without a gradient, and only where something reads what it gives
and no row goes through the model twice. Passes without a gradient are cut by length as the update is.
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
    """Passes over the rows of a batch in parts of similar length, none with more padded tokens than a micro-batch of TRL's.

    `log_probs(model, ids, mask, columns, entropy=...)` is one forward pass; `rows` is the micro-batch.
    """

    log_probs: Callable[..., tuple[Tensor, Tensor | None, Tensor | None]]
    accelerator: Any
    rows: int

    def __call__(
        self, model: Any, batch: Mapping[str, Tensor], rows: Sequence[int] | None = None, *, entropy: bool = True
    ) -> tuple[Tensor, Tensor]:
        """(n, T) log-probs and entropies of these rows (all unless stated), 0 elsewhere. Every rank makes as many passes
        as the busiest. Collective. Without `entropy` the second is 0 everywhere: TRL's reference models have none."""
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
    """What the passes over one generation batch show of the policy that sampled it.

    The entropies go to `statistics`; the gap to the log-probs that the engine reported is judged once, by `judge`.
    """

    statistics: StepMetrics
    sampling_state: SamplingState
    judge: Callable[[dict[str, float]], None]
    gap_is_due: bool
    from_update: bool
    """Do the update's own passes show it? Otherwise a pass before it did, or nobody asks."""
    gaps: list[dict[str, float]] = field(default_factory=list)

    def see(self, rows: Mapping[str, Any], logps: Tensor, entropies: Tensor) -> None:
        """Some rows of the batch: entropies of the sampled tokens, and their gap to what the engine reported."""
        mask = rows["completion_mask"]
        width = mask.shape[1]
        valid = mask.bool() & (torch.arange(width, device=mask.device) >= rows["prefill"].unsqueeze(1))
        self.statistics.add_entropies(fit_columns(entropies, width), valid, rows["correct"])
        if self.gap_is_due:
            self.gaps.append(gap(rows[SAMPLED], fit_columns(self.sampling_state.logp(logps, entropies), width), mask))

    def end(self) -> None:
        """All rows were seen. Rule: the engine samples from the current weights, or the run stops. Collective."""
        if self.gap_is_due:
            measured = over_ranks(gather_object(self.gaps))
            self.gaps, self.gap_is_due = [], False
            self.judge(measured)


def entropy_is_read(controllers: Iterable[Any], guards: Iterable[Any]) -> bool:
    """Does one of them follow the entropy of all rows of a step?"""
    read = [name for controller in controllers for name in statistics_of(controller)]
    read += [name for guard in guards for name in guard.statistics]
    return any(name.split("/")[0] == "entropy" and name != OF_TRAINED for name in read)
