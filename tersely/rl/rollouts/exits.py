"""Early exits: several rollouts of a group answer on one shared trace, each from another position.

A trace is sampled once for all its rows (`RolloutPlan.exit`). A row keeps the trace's first tokens, gets the text of its exit,
and samples an answer. Every row is a rollout with its own verdict.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tersely.core.seeds import salted_seed
from tersely.core.types import Exit, RolloutPlan
from tersely.engines.base import Generation, GenerationRequest
from tersely.engines.phases import Row, Script, closed_at, draw, run_scripts, stop_at
from tersely.rl.rollouts.phased import Generate, end_ids, script
from tersely.rl.rollouts.rollout import RolloutRound


@dataclass(frozen=True)
class Trace:
    """One trace of a group. `request`: its prompt, seed and cap; `plan`: that of one of its rows."""

    row: Row
    request: GenerationRequest
    plan: RolloutPlan
    exit: Exit
    batch: RolloutRound

    def script(self) -> Script:
        """The trace's own requests."""
        if self.exit.trace_tokens is None:
            yield from script(self.row, self.request, self.plan, self.batch)
            return
        marker = self.batch.template.end_of_thinking
        cap = min(self.exit.trace_tokens, self.request.max_new_tokens)
        if not self.batch.closed_before(self.plan):
            yield from draw(self.row, self.request.seed, cap, stop_at(marker))
        end = closed_at(self.row.ids, marker)
        if end is not None and end < len(self.row.ids):  # a marker of several tokens is not a stop id
            self.row.shorten(end)

    @property
    def thinking_tokens(self) -> int:
        """Sampled tokens of the trace before its end of thinking."""
        row, marker = self.row, self.batch.template.end_of_thinking
        if self.batch.closed_before(self.plan):
            return 0
        end = closed_at(row.ids, marker)
        if end is None:
            return row.sampled - (row.finish == "eos")
        forced = row.forced[:end]
        return forced.index(True) if forced[-1] else end - len(marker)

    def branch(self, exit: Exit) -> Row:
        """A row that leaves the trace at this exit, with the exit's text; the trace itself if `exit.whole`."""
        if exit.whole:
            row = self.row.branch(len(self.row.ids))
            row.finish = self.row.finish or "length"
            return row
        end = closed_at(self.row.ids, self.batch.template.end_of_thinking)
        if exit.position is None:
            row = self.row.branch(self.random_positions(exit.exits)[exit.order])
        elif end is not None and end <= exit.position and exit.closed_text is not None:
            row = self.row.branch(end)
            row.write(self.batch.encode(exit.closed_text))
            return row
        elif self.row.finish == "eos" and len(self.row.ids) <= exit.position:
            row = self.row.branch(len(self.row.ids))
            row.finish = "eos"
            return row
        else:
            row = self.row.branch(exit.position)
        row.write(end_ids(exit.text, self.batch))
        return row

    def random_positions(self, count: int) -> list[int]:
        """Uniform in [1, thinking tokens], ascending; 0 for a trace without thinking."""
        most, source = self.thinking_tokens, random.Random(salted_seed(self.request.seed, "exits"))
        return sorted(source.randint(1, most) for _ in range(count)) if most else [0] * count


def answer(row: Row, request: GenerationRequest, exit: Exit) -> Script:
    """The answer of a row that has left its trace."""
    seed = salted_seed(request.seed, f"exit {exit.order} answer {exit.answer}")
    cap = min(exit.answer_tokens, request.max_new_tokens - row.sampled)
    if row.finish is None and cap > 0:
        row.take((yield row.request(seed, cap)))


def generate_exits(
    batch: RolloutRound,
    requests: Sequence[GenerationRequest],
    generate: Generate,
    left_anywhere: Callable[[int], bool] = bool,
) -> list[Generation]:
    """One generation per row, in order: first the traces, then the answers. Each request has the seed of the row's trace."""
    traces: dict[tuple[str, int], Trace] = {}
    exits: list[tuple[Trace, Exit]] = []
    for request, plan, row in zip(requests, batch.plans, batch.rows, strict=True):
        assert plan.exit is not None, "a prompting makes exits for all rows or for none"
        key = (row["prompt_id"], plan.exit.trace)
        traces.setdefault(key, Trace(Row(request.prompt_ids), request, plan, plan.exit, batch))
        exits.append((traces[key], plan.exit))
    run_scripts([trace.script() for trace in traces.values()], generate, left_anywhere)
    rows = [trace.branch(exit) for trace, exit in exits]
    scripts = [answer(row, trace.request, exit) for row, (trace, exit) in zip(rows, exits, strict=True)]
    run_scripts(scripts, generate, left_anywhere)
    return [row.generation() for row in rows]
