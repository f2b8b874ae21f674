"""Random and mutated texts through the extractor and the verifier, for a given processor time.

    python benchmarks/fuzz_verifier.py --minutes 10 [--seed 1] [--data ../shared/data/verifier]

Looked for: an exception, a text that costs more than half a second in the owner, an undecided item with an error for
its reason, a gold that is not right against itself, a text that is right against a gold it does not hold. What is
found is printed as it can be pasted into tests/rewards/verify/test_fuzz.py.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from pathlib import Path

from tersely.configs.verifier import CONTRACTS, Policy
from tersely.rewards import Verifier
from tersely.rewards.verify.compare.cost_limits import exceeded_limit
from tersely.rewards.verify.compare.quick import quick_match
from tersely.rewards.verify.extract.find import find_answer
from tersely.rewards.verify.judge.input_filter import input_filter

PIECES = [
    "\\boxed{",
    "\\fbox{",
    "}",
    "{",
    "\\{",
    "\\}",
    "(",
    ")",
    "[",
    "]",
    "$",
    "$$",
    "\\(",
    "\\)",
    "\\[",
    "\\]",
    "</think>",
    "<think>",
    "####",
    "<answer>",
    "</answer>",
    "The answer is ",
    "answer: ",
    "A: ",
    "not ",
    "7",
    "0.1666...",
    "one half ",
    " million",
    " hours ",
    "¢",
    "⁶",
    "70",
    "1,000",
    "0.5",
    ".",
    ",",
    ";",
    ":",
    "=",
    "<",
    ">",
    "\\le ",
    "\\ge ",
    "\\ne ",
    "\\pm ",
    "\\frac",
    "\\frac{1}{2}",
    "\\sqrt",
    "\\sqrt{2}",
    "x",
    "y",
    "x_1",
    "^",
    "_",
    "^{10}",
    "!",
    "%",
    "\\%",
    "\\$",
    "\\pi",
    "\\infty",
    "\\cup",
    "\\in ",
    "\\mid ",
    "\\text{ cm}",
    "\\text{",
    " and ",
    " or ",
    "\n",
    " ",
    "\t",
    "\x00",
    "\ud800",
    "\u200b",
    "π",
    "×",
    "°",
    "−",
    "½",
    "\\begin{pmatrix}",
    "\\end{pmatrix}",
    "\\\\",
    "&",
    "\\approx ",
    "+",
    "-",
    "*",
    "/",
    "I hope it is correct.",
    "\\left",
    "\\right",
    "\\int_0^1 ",
    "\\sum_{k=1}^{9}",
    "\\binom",
    "e",
    "i",
    "9^{9^9}",
    "\\cdot ",
    "''",
    "'",
]
GOLDS = [
    "7",
    "0.1666...",
    "one half ",
    " million",
    " hours ",
    "¢",
    "⁶",
    "\\frac{1}{2}",
    "x+1",
    "(1,2)",
    "[0,1)",
    "\\text{even}",
    "x=3",
    "1,2,3",
    "50\\%",
    "2\\pi",
    "\\{1,2\\}",
    "A",
]
SLOW = 0.5


def make(source: random.Random, corpus: list[str]) -> str:
    kind = source.random()
    if kind < 0.4 or not corpus:
        return "".join(source.choices(PIECES, k=source.randint(1, 40)))
    text = list(source.choice(corpus)[-600:])
    for _ in range(source.randint(1, 8)):
        at = source.randrange(len(text) + 1)
        change = source.random()
        if change < 0.35:
            text[at:at] = source.choice(PIECES)
        elif change < 0.6:
            del text[at : at + source.randint(1, 6)]
        elif change < 0.8 and text:
            text[at : at + 1] = chr(source.choice([source.randrange(32, 127), source.randrange(0x2000, 0x2300)]))
        else:
            text[at:at] = text[at : at + source.randint(1, 30)] * source.choice([1, 2, 50])
    return "".join(text)


def one(gold: str, text: str, policy: Policy) -> str | None:
    """What is wrong with how the owner's side treats this text."""
    began = time.process_time()
    try:
        for contract in CONTRACTS:
            answer = find_answer(text, contract)
            if answer is not None:
                input_filter(answer)
                exceeded_limit(answer)
                decided = quick_match(gold, answer, policy)
                if decided and decided[0] and not any(char.isalnum() for char in answer):
                    return "right without content"
        itself = quick_match(text, text, policy)
        if itself is not None and not itself[0] and itself[1] != "probe" and text.strip():
            return f"not itself: {itself}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    seconds = time.process_time() - began
    return f"{seconds:.2f} s" if seconds > SLOW else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="processor minutes of this process")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data" / "verifier"
    )
    options = parser.parse_args()
    source = random.Random(options.seed)
    corpus = []
    if options.data.is_dir():
        rows = [json.loads(line) for line in (options.data / "pairs.jsonl").read_text().splitlines()]
        corpus = [row[key] for row in rows for key in ("gold", "prediction") if row[key]]
    policy, findings, texts = Policy(), 0, 0
    batch: list[tuple[str, str]] = []
    end = time.process_time() + options.minutes * 60
    with Verifier(workers=1, timeout=2.0, contract="lenient", cache=0) as verifier:
        while time.process_time() < end:
            gold = source.choice(GOLDS) if source.random() < 0.7 or not corpus else source.choice(corpus)
            text = make(source, corpus)
            texts += 1
            fault = one(gold, text, policy)
            if fault:
                findings += 1
                print(json.dumps([fault, gold, text]), flush=True)
            if texts % 20 == 0:
                batch.append((gold, text))
            if len(batch) == 200:
                for (gold, text), verdict in zip(batch, verifier.verify(*zip(*batch, strict=True)), strict=True):
                    if verdict.path.startswith(("error", "crash")):
                        findings += 1
                        print(json.dumps([verdict.path, gold, text]), flush=True)
                    elif verdict.status == "correct" and verdict.path not in ("exact", "number"):
                        print(json.dumps(["look", verdict.path, gold, verdict.answer]), flush=True)
                batch.clear()
        stats = verifier.stats()
    print(json.dumps({"texts": texts, "findings": findings, "cpu minutes": options.minutes, "stats": stats}))
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
