"""Sampling a model on benchmarks into records.jsonl: `tersely eval MODEL --benchmarks math500,gsm8k --out RUN_DIR`.

Every sample is drawn from its own seed, a hash of (run seed, problem id, sample index): the same sample comes out
whatever the batch, and whatever was done before a restart. Records are appended as they are verified; a start on a
folder that holds some goes on behind them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tersely.checks import SpecError
from tersely.eval.benchmarks import Benchmark, Sampling, load_benchmark
from tersely.eval.progress import Progress
from tersely.eval.records import FILE, SCORES, RecordReader, RecordWriter
from tersely.eval.settings import Settings, check_and_store
from tersely.rl.seeds import sample_seed


@dataclass(frozen=True)
class Task:
    """One sample that is still to be drawn."""

    row: dict[str, Any]
    sample: int
    seed: int
    prompt_ids: tuple[int, ...]
    max_new_tokens: int


@dataclass
class Evaluator:
    """A model behind an engine, with what turns its tokens into records. `batch` samples are drawn at once."""

    model: str
    tokenizer: Any
    engine: Any
    verifier: Any
    batch: int
    context: int | None = None
    """The model's longest sequence, tokens; the cap of a sample shrinks to what is left of it behind the prompt."""
    engine_name: str = "transformers"
    chat_template_kwargs: Mapping[str, Any] | None = None

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
        **sampling: Any,
    ) -> dict[str, float]:
        """Draw what is missing, append it to `out`/records.jsonl, and return the summary of the benchmark.

        sampling: samples, temperature, top_p, top_k, max_new_tokens where they differ from the benchmark's own.
        Raises `SpecError` for records under other settings, and for a prompt that fills the context.
        """
        bench, data, card = load_benchmark(benchmark, limit=limit, instruction=instruction, system_prompt=system_prompt)
        how = replace(bench.sampling, **{key: value for key, value in sampling.items() if value is not None})
        folder = Path(out)
        run = run or folder.resolve().name
        settings = Settings(
            model=self.model,
            engine=self.engine_name,
            seed=seed,
            limit=limit,
            instruction=instruction,
            system_prompt=system_prompt,
            fingerprint=card.fingerprint,
            **asdict(how),
        )
        check_and_store(folder, run, bench.name, settings)
        done = recorded(folder / FILE, bench.name)
        tasks = self._tasks(bench, data, how, seed, done)
        progress = Progress(f"{run}: {bench.name}", len(data) * how.samples, len(data) * how.samples - len(tasks))
        with RecordWriter(folder / FILE) as writer:
            try:
                for chunk in _chunks(tasks, self.batch):
                    records = self._records(chunk, run, bench.name, how)
                    for record in records:
                        writer.write(record)
                    progress.add([record["tokens"] for record in records])
            finally:
                progress.close()
        return summary(folder / FILE, bench.name)

    def _tasks(self, bench: Benchmark, data: Any, how: Sampling, seed: int, done: set[tuple[str, int]]) -> list[Task]:
        tasks = []
        for row in data:
            missing = [sample for sample in range(how.samples) if (row["prompt_id"], sample) not in done]
            if not missing:
                continue
            ids = self._prompt_ids(row)
            cap = how.max_new_tokens if self.context is None else min(how.max_new_tokens, self.context - len(ids))
            if cap < 1:
                raise SpecError(
                    f"benchmark {bench.name}, problem {row['prompt_id']}: the prompt has {len(ids)} tokens and the "
                    f"model's context ends at {self.context}; no room is left for an answer"
                )
            tasks += [
                Task(row, sample, sample_seed(seed, 0, row["prompt_id"], sample, salt="eval"), ids, cap)
                for sample in missing
            ]
        return tasks

    def _prompt_ids(self, row: dict[str, Any]) -> tuple[int, ...]:
        ids = self.tokenizer.apply_chat_template(
            row["prompt"], add_generation_prompt=True, return_dict=False, **dict(self.chat_template_kwargs or {})
        )
        return tuple(ids)

    def _records(self, tasks: Sequence[Task], run: str, benchmark: str, how: Sampling) -> list[dict[str, Any]]:
        from tersely.rl.engine import GenerationRequest

        requests = [GenerationRequest(task.prompt_ids, task.seed, task.max_new_tokens) for task in tasks]
        generations = self.engine.generate(requests, temperature=how.temperature, top_p=how.top_p, top_k=how.top_k)
        texts = self.tokenizer.batch_decode([g.token_ids for g in generations], skip_special_tokens=True)
        verdicts = self.verifier.verify([task.row["answer"] for task in tasks], texts)
        end = tuple(self.tokenizer.encode("</think>", add_special_tokens=False))
        return [
            _record(task, generation, text, verdict, end, run, benchmark)
            for task, generation, text, verdict in zip(tasks, generations, texts, verdicts, strict=True)
        ]


def _record(task: Task, generation: Any, text: str, verdict: Any, end: Sequence[int], run: str, benchmark: str) -> dict:
    from tersely.rl.facts import thinking_length

    return {
        "run": run,
        "benchmark": benchmark,
        "problem_id": task.row["prompt_id"],
        "sample": task.sample,
        "seed": task.seed,
        "level": task.row["level"],
        "problem": task.row["problem"],
        "gold": task.row["answer"],
        "text": text,
        "tokens": len(generation.token_ids),
        "thinking_tokens": thinking_length(generation.token_ids, end),
        "truncated": generation.finish == "length",
        "verdict": verdict.status,
        "correct": SCORES[verdict.status],
        "answer": verdict.answer,
        "finish": "length" if generation.finish == "length" else "stop",
        "strategy": None,
    }


def recorded(path: Path, benchmark: str) -> set[tuple[str, int]]:
    """(problem id, sample) of every whole record of a benchmark; an unfinished last line does not count."""
    if not path.exists():
        return set()
    return {
        (record["problem_id"], record["sample"]) for _, record in RecordReader(path) if record["benchmark"] == benchmark
    }


def summary(path: Path, benchmark: str) -> dict[str, float]:
    """Samples, accuracy over decided ones, mean tokens, shares of truncated and undecided. For a screen, not a report."""
    records = [record for _, record in RecordReader(path) if record["benchmark"] == benchmark]
    decided = [record["correct"] for record in records if record["correct"] is not None]
    count = max(len(records), 1)
    return {
        "samples": len(records),
        "accuracy": sum(decided) / len(decided) if decided else float("nan"),
        "tokens_mean": sum(record["tokens"] for record in records) / count,
        "truncated": sum(bool(record["truncated"]) for record in records) / count,
        "undecided": sum(record["correct"] is None for record in records) / count,
    }


def _chunks(tasks: Sequence[Task], size: int) -> Iterator[Sequence[Task]]:
    for start in range(0, len(tasks), size):
        yield tasks[start : start + size]


def evaluate(
    model: Any,
    tokenizer: Any,
    benchmark: str | Mapping[str, Any] | Benchmark,
    samples: int | None = None,
    *,
    out: str | Path,
    name: str | None = None,
    verifier: Any = None,
    batch: int | None = None,
    **settings: Any,
) -> dict[str, float]:
    """Evaluate a model that is in memory (or a name or path) on one benchmark with the transformers engine.

    tokenizer: None loads the model's own. settings: seed, limit, instruction, system_prompt, temperature, top_p, top_k,
    max_new_tokens. Returns `summary`; the records are in `out`/records.jsonl.
    """
    from tersely.eval.engines import transformers_evaluator

    evaluator = transformers_evaluator(model, tokenizer, verifier=verifier, batch=batch)
    try:
        return evaluator.run(benchmark, out, run=name, samples=samples, **settings)
    finally:
        evaluator.engine.close()
        if verifier is None and hasattr(evaluator.verifier, "close"):
            evaluator.verifier.close()


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its options are in command.py."""
    from tersely.eval.command import main as command

    return command(argv)
