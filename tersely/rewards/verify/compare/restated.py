r"""Finds answers that repeat the problem: its own formula, rewritten without doing the work, or not in the form asked for.

A formula copied from the prompt has the value of the reference answer, so every comparison of values accepts it. Three
tests find such answers. None applies to an answer that is written like the reference answer:

- the answer is a formula of the prompt, up to brackets, neutral elements and order ("5 + 17 \times 23");
- the prompt contains a formula with the value of the reference answer, and the answer has operators that the reference
  answer lacks (2^9 \cdot 2 for 1024): it is not evaluated;
- the prompt asks for a form (factor, expand, lowest terms, decimal), and the answer has another.
"""

from __future__ import annotations

import re
from functools import lru_cache
from math import isclose, isfinite

from tersely.rewards.verify.compare.domains import split_domain
from tersely.rewards.verify.compare.formula_tree import (
    LARGEST_EXACT,
    Tree,
    constant,
    contains,
    has_bracketed_sum,
    is_number,
    is_sum,
    lowest_terms,
    operators,
    tree_of,
)
from tersely.rewards.verify.compare.numbers import Quantity, read_quantity
from tersely.rewards.verify.compare.numeric import probe
from tersely.rewards.verify.extract.split import split_top, strip_label
from tersely.rewards.verify.normalize.latex import LIMIT, squeeze, tidy
from tersely.rewards.verify.normalize.units import without_unit

_MATH = re.compile(r"\$\$(.+?)\$\$|\\\[(.+?)\\\]|\\\((.+?)\\\)|(?<!\\)\$((?:\\.|[^$\\])+?)(?<!\\)\$", re.DOTALL)
_PLAIN = re.compile(r"[\w().√%]+(?:\s*[-+*/^×÷·:−]+\s*[\w().√%]+)*")
_RELATION = re.compile(r"=|<|>|\\(?:le|ge|ne|approx|equiv|in|to)(?![A-Za-z])")
_FORM = re.compile(
    r"simplif|reduc|lowest terms|simplest|convert|factor|expan|express|rewrite|\bwrite\b|\bratio\b|prime"
    r"|mixed number"
    r"|rationali[sz]e|multipl|brackets|decimal|\bas an? (?:\w+ )?(?:decimal|fraction|percent|product|sum|power|number)"
    r"|standard form|notation",
    re.IGNORECASE,
)
_FACTOR = re.compile(
    r"\bfactor(?:i[sz]e|s? (?:the|this|each|completely|fully|\$|\\|[(\w]*\^)|ed form|\b\s*[:$\\(])", re.IGNORECASE
)
_EXPAND = re.compile(r"\bexpand|multiply out|multiplied out|remove (?:the )?brackets", re.IGNORECASE)
_PRIMES = re.compile(r"prime factori[sz]ation|product of (?:\w+ )?primes|into primes", re.IGNORECASE)
_DECIMAL = re.compile(r"\b(?:as|to|into|in) (?:an? )?(?:\w+ )?decimals?\b", re.IGNORECASE)
_SIGN = re.compile(r"[\d^*/+×÷·√=-]")
_PIECES = 200


def restated(gold: str, answer: str, prompt: str) -> bool:
    """Whether a tidied answer only repeats its prompt, or lacks the form that the prompt asks for."""
    answer, gold = (_bare(text) for text in (answer, gold))
    if not answer or squeeze(answer) == squeeze(gold):
        return False
    tree, wanted = tree_of(answer), tree_of(gold)
    if tree is None:
        return (
            len(squeeze(answer)) >= 3
            and bool(re.search(r"[-+*/^\\=]", answer))
            and squeeze(answer) in _squeezed(prompt)
        )
    if tree == wanted or tree[0] == "sym":
        return False
    if (is_number(tree) or tree[0] in (":", "%")) and lowest_terms(tree) and not _FORM.search(prompt):
        return False
    formulas = _formulas(prompt)
    if tree in formulas:
        return True
    if wanted is None or (tree[0] == "=" and tree[-1] == wanted):
        return False  # the second test: a chain that ends in the value
    known = operators(wanted)
    more = bool(operators(tree) - known)
    if more and any(contains(tree, part) for part in formulas if operators(part) - known):
        return True  # it contains the formula and more
    if not more and not _other_form(tree, wanted, prompt):
        return False
    number = read_quantity(gold)
    return any(_same_value(gold, number, formula) for formula in formulas.values())


def _bare(text: str) -> str:
    """The text without its condition, label and unit."""
    text = split_domain(text)[0]
    return without_unit(strip_label(text)[1] if split_top(text) == [text] else text)


def _other_form(tree: Tree, wanted: Tree, prompt: str) -> bool:
    """Whether the prompt asks for a form that the reference answer has and the answer lacks."""
    if _FACTOR.search(prompt) and is_sum(tree) and not is_sum(wanted):
        return True
    if _EXPAND.search(prompt) and has_bracketed_sum(tree) and not has_bracketed_sum(wanted):
        return True
    if _PRIMES.search(prompt):
        return True  # one form, up to order
    if _DECIMAL.search(prompt) and wanted[0] == "num" and tree[0] != "num":
        return True
    return bool(_FORM.search(prompt)) and not lowest_terms(tree) and lowest_terms(wanted)


def _same_value(gold: str, number: Quantity | None, formula: str) -> bool:
    if number is None:
        return probe(gold, formula) is True
    other = read_quantity(formula)
    if other is not None:
        return number.value == other.value
    tree = tree_of(formula)
    value = None if tree is None else constant(tree)
    if value is None or not isfinite(value):
        return probe(gold, formula) is True
    return abs(number.value) < LARGEST_EXACT and isclose(number.value, value, rel_tol=1e-12)


@lru_cache(maxsize=1024)
def _formulas(prompt: str) -> dict[Tree, str]:
    """The formulas of a prompt and the sides of its relations, by their trees."""
    prompt = prompt[-LIMIT:]
    spans = [next(filter(None, match.groups())) for match in _MATH.finditer(prompt)]
    found: dict[Tree, str] = {}
    plain = [text for text in _PLAIN.findall(_MATH.sub(" ", prompt)) if not text.isalpha() and _SIGN.search(text)]
    for text in (*spans, *plain):
        for part in dict.fromkeys((text, *split_top(text), *_RELATION.split(text))):
            if len(found) >= _PIECES:
                return found
            formula = tidy(part)
            tree = tree_of(formula)
            if tree is not None and tree[0] != "sym":
                found.setdefault(tree, formula)
    return found


@lru_cache(maxsize=1024)
def _squeezed(prompt: str) -> str:
    return squeeze(tidy(prompt[-LIMIT:]))
