"""Samples a model on benchmarks into records.jsonl: `tersely eval MODEL --benchmarks math500,gsm8k --out RUN_DIR`.

Each sample has its own seed, a hash of (run seed, problem id, sample index), so it does not depend on the batch or on
restarts. Records are appended as they are verified; a start on a folder with records continues after them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tersely.core.errors import ConfigError
from tersely.core.logging import get_logger
from tersely.core.protocols import complete
from tersely.core.seeds import sample_seed, stable_id
from tersely.core.verifier import AnswerVerifier
from tersely.data.benchmarks import Benchmark, Sampling, find_benchmark, load_benchmark
from tersely.engines.base import Engine
from tersely.engines.chat import Prompting
from tersely.eval.decoding.base import Decoded, Prompt
from tersely.eval.decoding.spec import Chosen, check, parse
from tersely.eval.progress import Progress
from tersely.eval.records import FILE, RecordReader, RecordWriter
from tersely.eval.run_arrays import strategy_label
from tersely.eval.run_card import Settings, check_and_store
from tersely.eval.sample_record import TokenLengths, sample_record
from tersely.eval.trained_prompt import asked, for_strategy

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = get_logger(__name__)


@dataclass(frozen=True)
class Task:
    """One sample that is not generated yet."""

    row: dict[str, Any]
    prompt: Prompt
    seed: int


@dataclass
class Job:
    """One benchmark with one strategy: samples to generate, and the record file."""

    run: str
    benchmark: str
    sampling: Sampling
    seed: int
    chosen: Chosen
    variants: list[Chosen]
    done: list[set[tuple[str, int]]]
    """Samples that are already recorded, per variant."""


@dataclass
class Evaluator:
    """Evaluates one model: engine, tokenizer and verifier. `batch`: samples per batch."""

    model: str
    tokenizer: PreTrainedTokenizerBase
    engine: Engine
    verifier: AnswerVerifier
    batch: int
    context: int | None = None
    """The model's longest sequence, tokens; it limits the cap of a sample after a long prompt."""
    prompting: Prompting = field(default_factory=Prompting)
    """System prompt, instruction and template variables that the model was trained with, if any."""
    maker_sampling: Mapping[str, Any] = field(default_factory=dict)
    """Sampling settings of the model's generation config, for `--sampling model`."""

    def __post_init__(self) -> None:
        self.verifier = complete(AnswerVerifier, self.verifier)

    def run(
        self,
        benchmark: str | Mapping[str, Any] | Benchmark,
        out: str | Path,
        *,
        run: str | None = None,
        seed: int = 0,
        limit: int | None = None,
        instruction: str | None = None,
        system_prompt: str | None = None,
        strategy: str | Chosen = "vanilla",
        budgets: Sequence[int] | None = None,
        **sampling: Any,
    ) -> dict[str, float]:
        """Generate missing samples, append them to `out`/records.jsonl, and return the summary of the benchmark.

        sampling: samples, temperature, top_p, top_k, max_new_tokens that differ from the benchmark's.
        budgets: token grid for accuracy in reports. With several variants, returns the last one's summary.
        Raises `ConfigError` for records with other settings, for a prompt that fills the context, and for a strategy that
        does not support this engine or model.
        """
        chosen = parse(strategy) if isinstance(strategy, str) else strategy
        check(chosen, self.tokenizer, self.engine)
        bench = find_benchmark(benchmark)
        instruction, system_prompt = asked(self.prompting, bench, instruction, system_prompt)
        prompting = for_strategy(self.prompting, chosen.name)
        bench, data, card = load_benchmark(bench, limit=limit, instruction=instruction, system_prompt=system_prompt)
        how = replace(bench.sampling, **{key: value for key, value in sampling.items() if value is not None})
        folder = Path(out)
        run = run or folder.resolve().name
        variants = chosen.variants()
        prompts = {row["prompt_id"]: tuple(prompting.ids(self.tokenizer, row["prompt"])) for row in data}
        context = self._short_context(bench.name, prompts, how.max_new_tokens)
        for variant in variants:
            settings = Settings(
                model=self.model,
                engine=self.engine.name,
                seed=seed,
                limit=limit,
                instruction=instruction,
                system_prompt=system_prompt,
                fingerprint=card.fingerprint,
                chat_template=self._template_hash(),
                chat_template_kwargs=dict(prompting.chat_template_kwargs),
                prompting_instruction=prompting.prompting_instruction,
                prefill=prompting.prefill,
                context=context,
                strategy=variant.settings,
                scorer=card.sources[0].scorer,
                budgets=None if budgets is None else list(budgets),
                **asdict(how),
            )
            check_and_store(folder, run, bench.name, settings, variant.label)
        done = [recorded(folder / FILE, bench.name, variant.label) for variant in variants]
        job = Job(run, bench.name, how, seed, chosen, variants, done)
        tasks = self._tasks(bench, data, prompts, job)
        total = len(data) * how.samples
        title = f"{run}: {bench.name}" + (f", {chosen.label}" if chosen.label else "")
        progress = Progress(title, total, total - len(tasks))
        with RecordWriter(folder / FILE) as writer:
            try:
                self._work(tasks, job, writer, progress)
            finally:
                progress.close()
        return summary(folder / FILE, bench.name, variants[-1].label)

    def _template_hash(self) -> str:
        return stable_id(
            str(getattr(self.tokenizer, "chat_template", "")), str(dict(self.prompting.chat_template_kwargs))
        )

    def _work(self, tasks: Sequence[Task], job: Job, writer: RecordWriter, progress: Progress) -> None:
        """Generate batch by batch; each is verified and written while the next one is generated."""
        lengths = TokenLengths(self.tokenizer)
        with ThreadPoolExecutor(1, thread_name_prefix="records") as behind:
            pending: Future[None] | None = None
            for chunk in _chunks(tasks, self.batch):
                began = time.perf_counter()
                decoded = self._draw(chunk, job)
                seconds = time.perf_counter() - began
                if pending is not None:
                    pending.result()
                pending = behind.submit(self._store, chunk, decoded, seconds, job, writer, progress, lengths)
            if pending is not None:
                pending.result()

    def _draw(self, tasks: Sequence[Task], job: Job) -> list[Decoded]:
        """Decoded samples, ordered by variant."""
        return job.chosen.strategy(self.engine, [task.prompt for task in tasks], job.sampling, job.seed)

    def _store(
        self,
        tasks: Sequence[Task],
        decoded: list[Decoded],
        seconds: float,
        job: Job,
        writer: RecordWriter,
        progress: Progress,
        lengths: TokenLengths,
    ) -> None:
        """Verify and write the samples that are not recorded yet."""
        rate = seconds / max(1, sum(len(d.token_ids) + d.extra_tokens for d in decoded))
        for which, (variant, done) in enumerate(zip(job.variants, job.done, strict=True)):
            part = decoded[which * len(tasks) : (which + 1) * len(tasks)]
            fresh = [
                pair
                for pair in zip(tasks, part, strict=True)
                if (pair[0].prompt.prompt_id, pair[0].prompt.sample) not in done
            ]
            texts = self.tokenizer.batch_decode([d.token_ids for _, d in fresh], skip_special_tokens=True)
            graded = [variant.strategy.graded(text) for text in texts]
            verdicts = self.verifier.verify_rows([task.row for task, _ in fresh], graded)
            for (task, one), text, verdict in zip(fresh, texts, verdicts, strict=True):
                record = sample_record(task.row, task.prompt, task.seed, one, text, verdict, lengths)
                writer.write(
                    {
                        "run": job.run,
                        "benchmark": job.benchmark,
                        **record,
                        "strategy": variant.record,
                        "wall_s": round(rate * one.cost, 6),
                    }
                )
        progress.add([len(d.token_ids) + d.extra_tokens for d in decoded[-len(tasks) :]])

    def _short_context(self, name: str, prompts: Mapping[str, tuple[int, ...]], cap: int) -> int | None:
        """The context if it ends answers before the cap (with a warning); None otherwise."""
        short = sum(self.context is not None and len(ids) + cap > self.context for ids in prompts.values())
        if not short:
            return None
        logger.warning(
            f"{name}: {short} of {len(prompts)} prompts leave less than the cap of {cap} tokens for the answer in "
            f"the context of {self.context} tokens"
        )
        return self.context

    def _tasks(self, bench: Benchmark, data: Any, prompts: Mapping[str, tuple[int, ...]], job: Job) -> list[Task]:
        tasks = []
        everywhere = set.intersection(*job.done)
        prompting = for_strategy(self.prompting, job.chosen.name)
        render = lambda chat: tuple(prompting.ids(self.tokenizer, chat))
        for row in data:
            identity = row["prompt_id"]
            missing = [sample for sample in range(job.sampling.samples) if (identity, sample) not in everywhere]
            if not missing:
                continue
            ids, cap = prompts[identity], job.sampling.max_new_tokens
            if self.context is not None:
                cap = min(cap, self.context - len(ids))
            if cap < 1:
                raise ConfigError(
                    f"benchmark {bench.name}, problem {identity}: the prompt has {len(ids)} tokens and the "
                    f"model's context ends at {self.context}; no room is left for an answer"
                )
            tasks += [
                Task(
                    row,
                    Prompt(identity, sample, ids, cap, row["prompt"], render, self.context),
                    sample_seed(job.seed, 0, identity, sample, salt="eval"),
                )
                for sample in missing
            ]
        return tasks

    def render(self, messages: Sequence[Mapping[str, str]]) -> tuple[int, ...]:
        """Prompt ids of a chat, with the trained template variables and prefill."""
        return tuple(self.prompting.ids(self.tokenizer, messages))


def recorded(path: Path, benchmark: str, strategy: str | None = None) -> set[tuple[str, int]]:
    """(problem id, sample) of every complete record of a benchmark with a strategy; ignores an unfinished last line."""
    return {(record["problem_id"], record["sample"]) for record in _records(path, benchmark, strategy)}


def _records(path: Path, benchmark: str, strategy: str | None) -> Iterator[dict[str, Any]]:
    for _, record in RecordReader(path) if path.exists() else ():
        if record["benchmark"] == benchmark and strategy_label(record.get("strategy")) == strategy:
            yield record


def summary(path: Path, benchmark: str, strategy: str | None = None) -> dict[str, float]:
    """Short summary: samples, accuracy over decided samples, mean tokens, shares of truncated and undecided samples.

    `accuracy_ended`: accuracy if a correct answer in a truncated completion counts as incorrect.
    """
    records = list(_records(path, benchmark, strategy))
    known = [record for record in records if record["correct"] is not None]
    decided = [record["correct"] for record in known]
    ended = [record["correct"] and not record["truncated"] for record in known]
    count = max(len(records), 1)
    return {
        "samples": len(records),
        "accuracy": sum(decided) / len(decided) if decided else float("nan"),
        "accuracy_ended": sum(map(bool, ended)) / len(ended) if ended else float("nan"),
        "tokens_mean": sum(record["tokens"] for record in records) / count,
        "truncated": sum(bool(record["truncated"]) for record in records) / count,
        "undecided": sum(record["correct"] is None for record in records) / count,
    }


def budget_summary(
    path: Path, benchmark: str, strategy: str | None, budgets: Sequence[int]
) -> tuple[list[float], float]:
    """(accuracy at each budget, area under it) from existing samples."""
    import numpy as np

    from tersely.eval import metrics

    by_problem: dict[str, list[tuple[float, float]]] = {}
    for record in _records(path, benchmark, strategy):
        score = float("nan") if record["correct"] is None else float(record["correct"])
        by_problem.setdefault(record["problem_id"], []).append((score, float(record["tokens"])))
    width = max(map(len, by_problem.values()), default=0)
    cells = np.full((2, len(by_problem), width), np.nan)
    for q, samples in enumerate(by_problem.values()):
        cells[:, q, : len(samples)] = np.array(samples).T
    curve = metrics.accuracy_at_budget(cells[0], cells[1], list(budgets))
    return [float(x) for x in curve], metrics.budget_auc(list(budgets), curve)


def _chunks(tasks: Sequence[Task], size: int) -> Iterator[Sequence[Task]]:
    for start in range(0, len(tasks), size):
        yield tasks[start : start + size]
