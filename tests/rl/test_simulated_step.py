"""A step of 8,192 rows on a simulated clock: the scheduling code is real, the GPUs are the cost model of the plan.

Row fetching, requests, the stream of answers from several engines, the gather of facts, update windows and micro-batches of
every rank. Sizes, caps and limits are those of the shipped GPU recipes.
"""

from __future__ import annotations

import dataclasses
import json
import time
import tracemalloc
from collections import deque
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support import simulated

from tersely.configs.load import list_recipes, load_recipe
from tersely.core.memory import PromptMemory
from tersely.core.types import RolloutPlan
from tersely.engines.base import Generation
from tersely.engines.server import scheduler as vllm_stream
from tersely.engines.server.engine import ServerEngine
from tersely.launch.preflight import time_estimate as planning
from tersely.launch.preflight.memory_estimate import Shape
from tersely.launch.preflight.outline import CALM
from tersely.rl import watchdog
from tersely.rl.config import checked, grpo_config, objective_of
from tersely.rl.rollouts import maker
from tersely.rl.rollouts import record as facts_module
from tersely.rl.rollouts.maker import BatchShape, Moment, RolloutMaker
from tersely.rl.rollouts.prompt_rows import PromptRows
from tersely.rl.rollouts.rollout import RolloutRound, Template
from tersely.rl.update.micro_batches import MicroBatches

ROWS, PROMPT = 8192, 200
SHAPES = {
    "1.5b": Shape(1_777_088_000, 28, 1536, 8960, 12, 2, 128, 151936),
    "7b": Shape(7_615_616_512, 28, 3584, 18944, 28, 4, 128, 152064),
    "0.6b": Shape(596_049_920, 28, 1024, 3072, 16, 8, 128, 151936),
}
RANKS = {"deepseek-r1-distill-qwen-7b/alp": 16, "qwen3-0.6b/alp_24gb": 1}
"""4 for the others, half of their node, so that a step outlasts the limit."""
PART = 4
"""Fewer ranks by this factor, each with as many rows, take the same simulated time; `exhaustive` tests have all of them."""
FULL = pytest.mark.exhaustive
RECIPES = {name: load_recipe(name) for name in list_recipes()}
GPU = [name for name, recipe in RECIPES.items() if recipe.engine == "vllm" and recipe.peft is None]
"""An adapter does not change the order of a step."""


def one_of_each_schedule(names):
    """Recipes that differ in their methods alone take the same step; one of them is enough."""
    seen = set()
    for name in names:
        recipe = RECIPES[name]
        size = next(size for size in SHAPES if size in recipe.model_name_or_path.lower())
        batch = (recipe.prompts_per_step, recipe.group_size, recipe.micro_batch, recipe.updates_per_batch)
        key = (size, *batch, recipe.trl["max_completion_length"], recipe.max_num_seqs, recipe.deadline_seconds)
        yield pytest.param(name, marks=[pytest.mark.exhaustive] if key in seen else [])
        seen.add(key)


VERDICTS = [SimpleNamespace(correct=float(right), status="ok", answer="1") for right in (0, 1)]


class Data:
    """A training set that counts how often it is read."""

    def __init__(self):
        self.reads = 0

    def __len__(self):
        return 40315

    def __getitem__(self, index):
        self.reads += 1
        prompt = [{"role": "user", "content": "x"}]
        return {"prompt": prompt, "prompt_id": f"p{index}", "problem": "x", "answer": "1"}


class Engine(ServerEngine):
    """The client of the engines, without servers: an answer is as long as its seed says."""

    def __init__(self, addresses, concurrency, lengths):
        self.addresses, self.concurrency, self.lengths = addresses, concurrency, lengths
        self._busy_s, self._began, self._ended, self._answered = 0.0, np.inf, 0.0, {}

    def _stream(self, **_):
        return vllm_stream.Stream(self.addresses, self.ask, concurrency=self.concurrency, down={})

    def ask(self, address, request):
        tokens = Tokens(self.length(request))
        return Generation(tokens, None, "length" if len(tokens) == request.max_new_tokens else "eos")

    def length(self, request):
        return min(request.max_new_tokens, int(self.lengths[request.seed % len(self.lengths)]))


class Tokens(Sequence):
    """The ids 0, 1, 2, ... without a list of them: thousands of rows are held at once."""

    def __init__(self, length):
        self.ids = range(length)

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, place):
        return self.ids[place]


class Parts:
    """What a rank of the trainer schedules with."""

    def __init__(self, simulation, rank, run, args, data, engine):
        self.accelerator = SimpleNamespace(
            device="cpu",
            gather=lambda mine: torch.cat([torch.atleast_1d(part) for part in simulation.gather(mine)]),
            reduce=lambda mine, reduction: torch.stack(simulation.gather(mine)).mean(0),
        )
        self.objective = objective_of(run)
        self.prompts = PromptRows.of(args, data, rank, simulation.ranks)
        tokenizer = SimpleNamespace(batch_decode=lambda ids, **_: ["x"] * len(ids))
        shape = BatchShape.of(args, rank, simulation.ranks)
        grader = SimpleNamespace(ended=False)
        self.maker = RolloutMaker(
            self.objective, PromptMemory(), engine, grader, tokenizer, Template("", (7,)), {}, data, shape
        )
        self.micro_batches = MicroBatches.of(run, args, self.accelerator, self.objective, aux_loss=False)


@dataclasses.dataclass
class Costs:
    """Of the cost model, for one engine and one rank."""

    shape: Shape
    work: planning.Workload
    gpu: planning.Gpu

    def __post_init__(self):
        self.known: dict[int, float] = {}
        parts = planning.seconds(self.shape, self.work, self.gpu)
        tokens = self.work.rows * (self.work.prompt + self.work.mean)
        self.update, self.old_logps = parts["update"] / tokens, parts["old_logps"] / tokens

    def step_s(self, running):
        if running not in self.known:
            work = dataclasses.replace(self.work, engine_rows=running)
            self.known[running] = planning.seconds(self.shape, work, self.gpu)["decode_step"]
        return self.known[running]

    @property
    def together(self):
        return planning.sequences_at_once(self.shape, self.work)


def planned(name, ranks, rows=ROWS, updates=None):
    """A recipe at this size, and the costs on the slowest GPU that its memory names."""
    recipe = load_recipe(name)
    size = next(size for size in SHAPES if size in recipe.model_name_or_path.lower())
    prompts = rows // recipe.group_size
    recipe = recipe.replaced(prompts_per_step=prompts, updates_per_batch=updates or recipe.updates_per_batch)
    run = checked(recipe)
    args = grpo_config(run, objective_of(run), ranks=ranks)
    args.generation_batch_size = rows  # this process is one rank of one, and TRL multiplies by its ranks
    gib = 24 if size == "0.6b" else 80
    there = planning.target(SimpleNamespace(gpus=ranks, gpu_memory=gib), recipe)
    work = planning.Workload.of(run, args, there, args.max_completion_length / 2, PROMPT)
    gpu = min(there.kinds, key=lambda gpu: gpu.tb_per_s)
    return run, args, Costs(SHAPES[size], work, gpu)


class Step:
    """One generation batch and its updates. `engines`: how many all ranks share; one for each rank unless stated."""

    def __init__(self, monkeypatch, name, ranks, rows=ROWS, engines=None, updates=None):
        self.run, self.args, self.costs = planned(name, ranks, rows, updates)
        self.simulation = simulation = simulated.Simulation(ranks)
        self.fleet = simulated.Engines(simulation, self.costs.together, self.costs.step_s)
        draw = np.random.default_rng(0)
        mean = self.args.max_completion_length / 3
        self.lengths = np.maximum(1, draw.lognormal(np.log(mean), 0.7, 1 << 16)).astype(int)
        self.engines, self.data, self.trained = engines, Data(), []
        self.cpu: dict[str, float] = {}
        fake = SimpleNamespace(Condition=simulation.Condition, Thread=simulation.thread_of(self._submit))
        monkeypatch.setattr(vllm_stream, "threading", fake)
        monkeypatch.setattr(vllm_stream, "time", SimpleNamespace(monotonic=simulation.monotonic))
        monkeypatch.setattr(vllm_stream, "beat", simulation.beat)
        together = lambda mine: [fact for part in simulation.gather(mine) for fact in part]  # noqa: E731
        monkeypatch.setattr(maker, "gather_object", together)
        monkeypatch.setattr(facts_module, "repetitive", lambda text, tokens, ended: False)  # a fixed cost of each row

    def _submit(self, args, done):
        self.fleet.submit(args[0], Engine.length(self, args[2]), done)

    def go(self):
        self.simulation.run(self.rank)
        return self

    def rank(self, rank):
        shared = [f"http://{n}" for n in range(self.engines)] if self.engines else [f"http://{rank}"]
        engine = Engine(shared, self.costs.together, self.lengths)
        parts = Parts(self.simulation, rank, self.run, self.args, self.data, engine)
        self.simulation.beat()
        rows = parts.prompts.at(0)
        made = RolloutRound(rows, [RolloutPlan()] * len(rows), parts.maker.tokenizer, parts.maker.template)
        made.prompt_ids = [[1] * PROMPT] * len(rows)
        made.finish(engine.generate(parts.maker.requests(made, Moment(0, 0.0), rank * len(rows))))
        facts = parts.maker.gathered_records(made, [VERDICTS[i % 3 == 0] for i in range(len(rows))])
        assert len(facts) == self.args.generation_batch_size
        mine = torch.tensor([fact.length for fact in facts[rank * len(rows) : (rank + 1) * len(rows)]])
        self.simulation.work(float((mine + PROMPT).sum()) * self.costs.old_logps)
        self.score(parts, rank, facts)
        self.update(parts, rank, mine)

    def score(self, parts, rank, facts):
        """Every rank does the same; one is enough here."""
        if rank == 0:
            self.advantage = parts.objective.score(parts.maker.rollouts(facts, Moment(0, 0.0))).advantage
        self.simulation.gather(None)

    def update(self, parts, rank, lengths):
        """The micro-batches of this rank, each as long as its padded tokens."""
        rows = len(lengths)
        mine = torch.arange(rank * rows, (rank + 1) * rows)
        column = torch.ones(rows, 1, dtype=torch.int64)
        batch = {
            "completion_ids": torch.zeros(1, 1, dtype=torch.int8).expand(rows, self.args.max_completion_length),
            "prompt_ids": torch.zeros(1, 1, dtype=torch.int8).expand(rows, PROMPT),
            "completion_mask": lengths.unsqueeze(1), "prompt_mask": column * PROMPT,  # sums of them are all that is read
            "train_mask": column, "advantages": self.advantage[mine], "row": mine, "global_row": mine,
        }  # fmt: skip
        update = parts.micro_batches.cut(batch, 0)
        steps = self.args.gradient_accumulation_steps
        for number, (part, skipped) in enumerate(zip(update.parts, update.idle, strict=True)):
            if not skipped:
                width = int(part["completion_mask"].max()) + PROMPT
                self.simulation.work(len(part["global_row"]) * width * self.costs.update)
                self.trained += [] if part.get("spare") else part["global_row"].tolist()
            if (number + 1) % steps == 0:
                self.simulation.gather(None)  # the gradients of a step

    def longest_gap(self, ranks=None):
        """Seconds in which none of these ranks (of all, unless stated) made progress."""
        chosen = range(self.simulation.ranks) if ranks is None else ranks
        beats = sorted(at for rank in chosen for at in self.simulation.beats[rank])
        return max(np.diff([0.0, *beats, self.simulation.now]))


@pytest.mark.slow
@pytest.mark.parametrize("part", [PART, pytest.param(1, marks=FULL)])
@pytest.mark.parametrize("name", one_of_each_schedule(GPU))
def test_every_gpu_recipe_makes_progress_within_its_deadline(name, part, monkeypatch, tmp_path):
    ranks = RANKS.get(name, 4)
    rows = ROWS // ranks if ranks > 1 else ROWS // 4
    ranks = max(min(ranks, 2), ranks // part)  # two have to wait for each other
    step = Step(monkeypatch, name, ranks, ranks * rows).go()
    deadline = step.run.deadline_seconds
    assert step.simulation.now > deadline, "the step is no shorter than the limit, which would prove nothing"
    assert step.longest_gap() < CALM * deadline
    assert not given_up(step, deadline, tmp_path / "a", monkeypatch)
    half = step.simulation.now / 2
    step.simulation.now += 2 * deadline
    step.simulation.beats = [[at for at in beats if at < half] for beats in step.simulation.beats]
    assert given_up(step, deadline, tmp_path / "b", monkeypatch), "a step that stops half-way is not noticed"


def given_up(step, deadline, folder, monkeypatch):
    """Does the watch of a rank end this run? Its real rule, fed with the beats of all ranks."""
    clock, ranks = SimpleNamespace(now=0.0), step.simulation.ranks
    monkeypatch.setattr(watchdog, "time", SimpleNamespace(monotonic=lambda: clock.now, time=lambda: clock.now))
    monkeypatch.setattr(watchdog, "write_json", lambda path, value: path.write_text(json.dumps(value)))
    folder.mkdir()
    watches = [watchdog.Watch(folder, deadline, rank, ranks) for rank in range(ranks)]
    slowest = max(range(ranks), key=lambda rank: step.longest_gap({rank}))
    mine, left, ended = watches[slowest], [deque(beats) for beats in step.simulation.beats], []

    def tick(interval):
        until = clock.now + interval
        for watch, beats in zip(watches, left, strict=True):
            moved = False
            while beats and beats[0] <= until:
                clock.now, moved = beats.popleft(), True
                watch.beat()
            if moved:
                watch._write()
        clock.now = until
        return bool(ended) or until > step.simulation.now

    monkeypatch.setattr(mine, "_ended", SimpleNamespace(wait=tick))
    monkeypatch.setattr(mine, "_give_up", ended.append)
    mine._watch()
    return bool(ended)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ranks", "engines", "rows"),
    [(8, 8, ROWS // PART), *(pytest.param(ranks, 8, ROWS, marks=FULL) for ranks in (8, 64))],
)
def test_a_step_reads_each_prompt_once_loses_no_row_and_keeps_its_memory(ranks, engines, rows, monkeypatch):
    tracemalloc.start()
    step = Step(monkeypatch, "deepscaler-1.5b-preview/alp", ranks, rows, engines=engines).go()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    silent = (step.advantage == 0).nonzero().flatten().tolist()
    assert sorted(step.trained + silent) == list(range(rows))
    assert step.data.reads == rows // step.run.group_size
    assert peak < 25600 * rows, f"{peak >> 20} MiB"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("small", "large"),
    [((1024, 8), (4096, 8)), ((1024, 1), (4096, 1)), ((2048, 8), (2048, 32))],
)
def test_four_times_the_rows_or_ranks_are_no_more_than_about_four_times_the_work(small, large, monkeypatch):
    """One grows at a time: each rank plans with the facts of all rows. One rank has all rows in one update.

    CPU time of all ranks together, so load does not count.
    """

    def seconds(rows, ranks):
        step = Step(monkeypatch, "deepscaler-1.5b-preview/alp", ranks, rows, updates=1 if ranks == 1 else 4)
        began = time.process_time()
        step.go()
        return time.process_time() - began

    few, many = min(seconds(*small) for _ in range(2)), seconds(*large)
    assert many < 8 * few and many < 20, (few, many)


def test_a_rank_that_waits_for_what_never_comes_is_noticed():
    simulation = simulated.Simulation(2)
    with pytest.raises(AssertionError, match="nothing is to come"):
        simulation.run(lambda rank: simulation.gather(rank) if rank else simulation.work(1.0))
