"""The verifier measured: accuracy by source, throughput against TRL's `accuracy_reward`, hostile answers, leaks.

    python benchmarks/verifier.py [--data ../shared/data/verifier] [--only accuracy,round2,throughput,hostile,leak]

Every figure is printed, and written to benchmarks/results/verifier.json with the command that made it. The accuracy
part needs labelled answers (pairs.jsonl, responses.jsonl: rows of gold, prediction or response, label, source) and is
left out, with a word, where the folder is absent. TRL and math-verify's default run in the same process, on the same
rows, in the same run. The part `round2` reads round2.jsonl: public answers, attempted hacks and legitimate variants.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from tersely.rewards import Verifier

ROOT = Path(__file__).resolve().parents[1]
WHOLE_TEXTS = ("huggingface/Math-Verify", "inclusionAI/AReaL", "master-keys")


def trl_scores(golds: Sequence[str], texts: Sequence[str]) -> list[float | None]:
    """TRL's reward; golds boxed, because raw LaTeX golds are dropped by it."""
    from trl.rewards import accuracy_reward

    boxed = [gold if "\\boxed" in gold else f"\\boxed{{{gold}}}" for gold in golds]
    return accuracy_reward([[{"role": "assistant", "content": text}] for text in texts], boxed)


def default_scores(golds: Sequence[str], texts: Sequence[str]) -> list[float]:
    """math-verify as its README has it."""
    from math_verify import parse, verify

    return [float(verify(parse(gold), parse(text))) for gold, text in zip(golds, texts, strict=True)]


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def pair_texts(rows: Sequence[dict]) -> list[str]:
    """Predictions that are bare answers are boxed; whole texts and master keys stay as they are."""
    return [
        row["prediction"]
        if row["source"].startswith(WHOLE_TEXTS) or "boxed" in row["prediction"]
        else f"\\boxed{{{row['prediction']}}}"
        for row in rows
    ]


def accuracy(data: Path) -> dict:
    """TP FP TN FN and undecided, by source, of ours, TRL's and math-verify's default."""
    results = {}
    for name, contract in (("pairs", "lenient"), ("responses", "answer")):
        rows = read(data / f"{name}.jsonl")
        texts = pair_texts(rows) if name == "pairs" else [row["response"] for row in rows]
        golds = [row["gold"] for row in rows]
        with Verifier(contract=contract) as verifier:
            verdicts = verifier.verify(golds, texts)
        columns = {"ours": [verdict.correct for verdict in verdicts]}
        with Verifier(contract="boxed") as verifier:  # what TRL reads: a box, and nothing else
            columns["ours, boxes only"] = [verdict.correct for verdict in verifier.verify(golds, texts)]
        columns |= {"trl": trl_scores(golds, texts), "math_verify": default_scores(golds, texts)}
        for grader, scores in columns.items():
            for row, score in zip(rows, scores, strict=True):
                source = row["source"].partition(":")[0]
                results.setdefault(f"{name}/{source}", defaultdict(Counter))[grader][_cell(row["label"], score)] += 1
    return {source: {grader: dict(cells) for grader, cells in by.items()} for source, by in results.items()}


def _cell(label: bool, score: float | None) -> str:
    if score is None or score != score:
        return "undecided"
    return {(True, 1.0): "TP", (True, 0.0): "FN", (False, 1.0): "FP", (False, 0.0): "TN"}[label, score]


def round2(data: Path) -> dict:
    """Recall, false positives, hacks and legitimate variants, by kind; every grader reads references in a box."""
    rows = read(data / "round2.jsonl")
    texts = [row["answer"] if row["form"] == "text" else f"\\boxed{{{row['answer']}}}" for row in rows]
    golds, prompts = [row["gold"] for row in rows], [row.get("prompt", "") for row in rows]
    columns: dict[str, list] = {}
    for contract in ("answer", "lenient"):
        with Verifier(workers=2, contract=contract) as verifier:
            columns[f"ours, {contract}"] = [v.correct for v in verifier.verify(golds, texts, prompts)]
    boxed = [gold if "\\boxed" in gold else f"\\boxed{{{gold}}}" for gold in golds]
    columns |= {"trl": trl_scores(golds, texts), "math_verify": default_scores(boxed, texts)}
    results = {}
    for grader, scores in columns.items():
        cells: dict[str, Counter] = defaultdict(Counter)
        for row, score in zip(rows, scores, strict=True):
            source, cell = row["source"], _cell(row["label"], score)
            part = {"own:hacks": "hacks", "own:legit": "legitimate"}.get(source, "public")
            for name in (part, f"{part}/{row.get('kind') or source.partition(':')[0]}"):
                cells[name][cell] += 1
        results[grader] = {
            "public_recall": _share(cells["public"], "TP", "FN"),
            "public_false_positives": cells["public"]["FP"],
            "hacks_paid": _share(cells["hacks"], "FP", "TN"),
            "legitimate_paid": _share(cells["legitimate"], "TP", "FN"),
            "cells": {name: dict(cells[name]) for name in sorted(cells)},
        }
    return results


def _share(cells: Counter, yes: str, no: str) -> float:
    """The share of `yes`; what is undecided is not paid."""
    return cells[yes] / max(1, cells[yes] + cells[no] + cells["undecided"])


def filler(characters: int, source: random.Random) -> str:
    """Reasoning-like text with formulas, numbers and dollars in it, and no answer."""
    words = [
        "so",
        "we",
        "let",
        "the",
        "value",
        "of",
        "this",
        "sum",
        "be",
        "equal",
        "to",
        "that",
        "wait",
        "check",
        "and",
    ]
    parts: list[str] = []
    size = 0
    while size < characters:
        part = " ".join(source.choices(words, k=9)) + f" $x_{source.randint(1, 9)} = {source.randint(2, 999)}$.\n"
        parts.append(part)
        size += len(part)
    return "".join(parts)


def realistic(count: int, characters: int, seed: int) -> tuple[list[str], list[str]]:
    """Answers as a group of rollouts has them: mostly integers, some fractions and formulas, a third wrong."""
    source = random.Random(seed)
    golds, texts = [], []
    while len(golds) < count:
        number = source.randint(2, 99)
        gold, other = source.choice(
            [
                (str(number), str(number)),
                (str(number), f"{number}.0"),
                (str(number), str(number)),
                (f"\\frac{{{number}}}{{7}}", f"\\dfrac{{{number}}}{{7}}"),
                (f"\\frac{{{number}}}{{7}}", f"{number}/7"),
                (f"{number}\\sqrt{{3}}", f"{number}\\sqrt3"),
                (f"({number}, {number + 1})", f"({number},{number + 1})"),
                (f"x^2+{number}x", f"x(x+{number})"),
            ]
        )
        text = filler(characters, source)
        for _ in range(8):
            answer = other if source.random() < 0.67 else other.replace(str(number), str(number + source.randint(1, 3)))
            golds.append(gold)
            texts.append(f"{text}Therefore the answer is $\\boxed{{{answer}}}$.")
    return golds[:count], texts[:count]


def symbolic(count: int, seed: int) -> tuple[list[str], list[str]]:
    """Every gold and every answer distinct and a formula; half of them right, none the same string."""
    source = random.Random(seed)
    golds, texts = [], []
    for index in range(count):
        a, b, c = source.randint(2, 99), source.randint(2, 99), source.randint(2, 9)
        wrong = index % 2
        forms = [
            (f"{a}x^{c}+{b}y+{index}", f"{index} + {b + wrong} y + {a} x^{{{c}}}"),
            (f"\\frac{{{a}+\\sqrt{{{b}}}}}{{{index + 2}}}", f"\\frac{{\\sqrt{{{b}}}+{a + wrong}}}{{{index + 2}}}"),
            (f"(x+{a})(x-{index})", f"x^2 + {a - index + wrong} x - {a * index}".replace("+ -", "- ")),
            (f"{a}\\sin(x)+{index}\\pi", f"{index} \\pi + {a + wrong} \\sin(x)"),
        ]
        gold, answer = forms[index % len(forms)]
        golds.append(gold)
        texts.append(f"{filler(600, source)}So the answer is $\\boxed{{{answer}}}$.")
    return golds, texts


def engine_only(count: int, seed: int) -> tuple[list[str], list[str]]:
    """Distinct formulas that only math-verify can decide: matrices, factorials, maxima, wrong equations."""
    source = random.Random(seed)
    golds, texts = [], []
    for index in range(count):
        a, b, wrong = source.randint(2, 99), source.randint(2, 99), index % 2
        forms = [
            (_matrix("p", a, b, index), _matrix("b", a, b, f"{index + wrong}+0")),
            (f"(n+{a})!+{index}", f"{index + wrong}+({a}+n)!"),
            (f"\\max(x,{a})+{index}", f"{index + wrong}+\\max({a},x)"),
            (f"{a}x+{b}y={index}", f"{b}y+{a}x={index + 1}"),
        ]
        gold, answer = forms[index // 2 % len(forms)]
        golds.append(gold)
        texts.append(f"{filler(600, source)}So the answer is $\\boxed{{{answer}}}$.")
    return golds, texts


def _matrix(kind: str, a: object, b: object, c: object) -> str:
    return f"\\begin{{{kind}matrix}}x&{a}\\\\{b}&{c}\\end{{{kind}matrix}}"


def rate(function: Callable[[], object], count: int, verifier: Verifier | None = None) -> float:
    """Items per CPU second of this process and the verifier's workers: the load of other programs hardly matters."""
    began = _cpu(verifier)
    function()
    return count / (_cpu(verifier) - began)


def _cpu(verifier: Verifier | None) -> float:
    used = [psutil.Process(pid).cpu_times() for pid in (verifier.pids() if verifier else ())]
    return time.process_time() + sum(times.user + times.system for times in used)


def real(data: Path, items: int) -> dict[str, tuple[list[str], list[str]]]:
    """Answers that models wrote, with a box: the last 600 characters of each."""
    rows = [row for row in read(data / "responses.jsonl") if "\\boxed" in row["response"]]
    rows = random.Random(6).sample(rows, min(items, len(rows)))
    return {
        "answers of models, last 600 characters": ([r["gold"] for r in rows], [r["response"][-600:] for r in rows]),
    }


def throughput(items: int, data: Path) -> dict:
    """Verifications per CPU second, ours and TRL's, on the same rows. Both have seen other rows before."""
    sets = {
        "600 characters": realistic(items, 600, 1),
        "32,000 characters": realistic(items, 32_000, 2),
        "distinct and symbolic": symbolic(items, 3),
        "distinct, for math-verify only": engine_only(items, 4),
    }
    if data.is_dir():
        sets |= real(data, items)
    results: dict = {}
    with Verifier(workers=2, contract="boxed") as verifier:
        for warm in (realistic(64, 600, 11), symbolic(64, 12), engine_only(32, 13)):
            verifier.verify(*warm)
            trl_scores(*warm)
        for name, (golds, texts) in sets.items():
            scores: dict[str, list] = {}
            count = len(golds)
            ours = rate(lambda g=golds, t=texts, s=scores: s.update(ours=verifier.verify(g, t)), count, verifier)
            theirs = rate(lambda g=golds, t=texts, s=scores: s.update(trl=trl_scores(g, t)), count)
            differ = sum(a.correct != b for a, b in zip(scores["ours"], scores["trl"], strict=True))
            results[name] = {"ours": ours, "trl": theirs, "times": ours / theirs, "items": count, "differ": differ}
        results["stats"] = {key: value for key, value in verifier.stats().items() if key.startswith(("path", "cache"))}
    return results


def main() -> int:
    from hostile import hostile, leak  # beside this file

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "verifier")
    parser.add_argument("--only", default="accuracy,round2,throughput,hostile,leak")
    parser.add_argument("--items", type=int, default=400)
    parser.add_argument("--leak-items", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "verifier.json")
    options = parser.parse_args()
    parts = {
        "accuracy": lambda: accuracy(options.data),
        "round2": lambda: round2(options.data),
        "throughput": lambda: throughput(options.items, options.data),
        "hostile": lambda: hostile(options.items * 5),
        "leak": lambda: leak(options.leak_items),
    }
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    results["machine"] = {"cores": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()[0]}
    for name in options.only.split(","):
        if name in ("accuracy", "round2") and not options.data.is_dir():
            print(f"{name}: no labelled data in {options.data}; left out")
            continue
        results[name] = {
            "command": f"python benchmarks/verifier.py --only {name} --items {options.items}",
            **parts[name](),
        }
        print(json.dumps({name: results[name]}, indent=1))
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
