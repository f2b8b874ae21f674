"""Answers made to hang, exhaust or break a verifier, and what they cost a batch that holds some of them."""

from __future__ import annotations

import random
import resource
import time
from collections import Counter

import psutil

from tersely.rewards import Verifier


def hostile_answers() -> list[str]:
    """One of each kind: towers, factorials, giant sums and integrals, nesting, digits, strange bytes, dollars."""
    return [
        "\\boxed{9^{9^9}}",
        "\\boxed{10^{10^{10}}}",
        "\\boxed{2^{3000000000}+0.5}",
        "\\boxed{3^{10^7}}",
        "\\boxed{1000000!}",
        "\\boxed{(10^6)!}",
        "\\boxed{((9!)!)!}",
        "\\boxed{\\binom{10^7}{5*10^6}}",
        "\\boxed{\\sum_{k=1}^{100000000} \\frac{1}{k}}",
        "\\boxed{\\prod_{k=1}^{10^8} k}",
        "\\boxed{\\int_0^1 x^{x^x} \\sin(x^x) dx}",
        "\\boxed{\\int_0^\\infty \\frac{\\sin(x^3) e^{-x}}{\\ln(x+2)} dx}",
        "\\boxed{" + "(" * 400 + "7" + ")" * 400 + "}",
        "\\boxed{" + "\\frac{1}{" * 300 + "2" + "}" * 300 + "}",
        "\\boxed{" + "\\sqrt{" * 200 + "2" + "}" * 200 + "}",
        "\\boxed{" + "+".join(map(str, range(20_000))) + "}",
        "\\boxed{\\{" + ",".join(f"x+{k}" for k in range(300)) + "\\}}",
        "\\boxed{" + "7" * 500_000 + "}",
        "\\boxed{0." + "3" * 500_000 + "}",
        "\\boxed{7" + "\x00" * 1000 + "}",
        "\\boxed{\ud800\udfff7}",
        "\ud800" * 1000 + "\\boxed{x^2\udc00}",
        "$" * 3_000_000,
        "$ " * 1_500_000 + "\\boxed{" + "$" * 1000 + "}",
        "\\boxed{" * 100_000,
        "\\boxed{}" * 100_000,
        "\\boxed{x}, " * 5_000,
        "{" * 1_000_000,
        "\\boxed{" + "{" * 10_000 + "7" + "}" * 10_000 + "}",
        "The answer is " * 100_000,
        "\\(" * 500_000,
        "\\boxed{x^{x^{x^{x^{x^{x}}}}}}",
        "\\boxed{\\tan(\\tan(\\tan(\\tan(x^{99}))))}",
        "\\boxed{(a+b+c+d)^{2000}}",
        "\\boxed{(x+1)^{999}(x-1)^{999}}",
        "\\boxed{\\lim_{x\\to 0} \\frac{\\sin(\\tan x)-\\tan(\\sin x)}{x^7}}",
        "\\boxed{\\gcd(2^{1000}-1, 2^{999}-1)}",
        "\\boxed{\\zeta(3)^{\\Gamma(1/3)}}",
        "\\boxed{" + "x" * 3_000 + "}",
        "\\boxed{" + "\\cup".join(f"({k},{k}.5)" for k in range(60)) + "}",
    ]


def clean(count: int) -> tuple[list[str], list[str]]:
    """Formulas, all distinct, a third of them wrong; half need the workers."""
    golds = [f"{k}x^2+{k + 1}y" if k % 2 else _matrix("p", k, k + 1) for k in range(count)]
    texts = []
    for k in range(count):
        wrong = k % 3 // 2
        formula = f"{k + 1}y + {k + wrong} x^2" if k % 2 else _matrix("b", k, f"{k + 1 + wrong}+0")
        texts.append(f"\\boxed{{{formula}}}")
    return golds, texts


def _matrix(kind: str, *corner: object) -> str:
    return "\\begin{{{0}matrix}}x&{1}\\\\{2}&y\\end{{{0}matrix}}".format(kind, *corner)


def hostile(count: int, timeout: float = 5.0) -> dict:
    """Wall time of a clean batch, and of the same with five per cent of its answers made hostile."""
    results: dict = {"items": count, "timeout": timeout}
    source = random.Random(5)
    for name in ("clean", "hostile"):
        golds, texts = clean(count)
        kinds = hostile_answers()
        places = source.sample(range(count), count // 20)
        if name == "hostile":
            for number, place in enumerate(places):
                texts[place] = kinds[number % len(kinds)]
        with Verifier(workers=2, timeout=timeout) as verifier:
            verifier.verify(["x"], ["\\boxed{x + 0}"])  # the start is no part of a batch
            began = time.perf_counter()
            verdicts = verifier.verify(golds, texts)
            seconds = time.perf_counter() - began
            stats = verifier.stats()
        others = [verdict for place, verdict in enumerate(verdicts) if place not in set(places)]
        results[name] = {
            "seconds": seconds,
            "answered": len(verdicts),
            "undecided among the clean": sum(verdict.status == "undecided" for verdict in others),
            "status": dict(Counter(verdict.status for verdict in verdicts)),
            "undecided": {key: n for key, n in stats.items() if key in _PATHS},
            "restarts": stats["restarts"],
        }
    results["limit"] = 2 * results["clean"]["seconds"] + timeout
    results["within"] = results["hostile"]["seconds"] <= results["limit"]
    return results


_PATHS = ("path/guard", "path/timeout", "path/memory", "path/crash", "path/budget", "path/recursion")


def leak(count: int) -> dict:
    """Hostile answers in a row: processes and memory before and after."""
    kinds = [text for text in hostile_answers() if len(text) < 50_000]
    before = _memory()
    with Verifier(workers=2, timeout=1.0, cache=0) as verifier:
        verifier.verify(["7"] * len(kinds), kinds)
        warm = _memory()
        began = time.perf_counter()
        answered = 0
        for start in range(0, count, 500):
            batch = [kinds[(start + k) % len(kinds)] + " " * (start % 7) for k in range(min(500, count - start))]
            answered += len(verifier.verify(["7"] * len(batch), batch))
        seconds = time.perf_counter() - began
        alive, stats = _processes(), verifier.stats()
    time.sleep(0.5)
    return {
        "items": count,
        "answered": answered,
        "seconds": seconds,
        "owner MiB": {"before": before, "warm": warm, "after": _memory()},
        "processes while open": alive,
        "processes after close": _processes(),
        "restarts": stats["restarts"],
        "peak of a worker MiB": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }


def _memory() -> float:
    """Resident memory of this process, MiB."""
    return psutil.Process().memory_info().rss / 2**20


def _processes() -> int:
    """Below this one, zombies included."""
    return len(psutil.Process().children(recursive=True))
