"""Reads and checks the arrays that every metric takes; contains no formula.

A 1-D array of length Q is read as (Q, 1); None becomes nan; every error is a ValueError that names the argument.
"""

from __future__ import annotations

from typing import Any

import numpy as np

NAN = float("nan")


def numbers(x: Any, name: str) -> np.ndarray:
    """Any array-like as float64, of any rank."""
    try:
        return np.asarray(x, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name}: expected a rectangular array of numbers ({error}). Pad ragged rows with nan"
        ) from None


def matrix(x: Any, name: str) -> np.ndarray:
    """(Q,) or (Q, n) -> (Q, n) float64."""
    a = numbers(x, name)
    if a.ndim == 1:
        a = a[:, None]
    if a.ndim != 2:
        raise ValueError(f"{name}: got shape {a.shape}; expected (Q,) or (Q, n)")
    return a


def vector(x: Any, name: str) -> np.ndarray:
    """(Q,) or (Q, 1) -> (Q,) float64."""
    a = numbers(x, name)
    if a.ndim == 2 and a.shape[1] == 1:
        a = a[:, 0]
    if a.ndim != 1:
        raise ValueError(f"{name}: got shape {a.shape}; expected one-dimensional")
    return a


def verdicts(x: Any, name: str = "correct") -> np.ndarray:
    """(Q, n) of 0, 1 and nan."""
    a = matrix(x, name)
    if not np.all((a == 0) | (a == 1) | np.isnan(a)):
        raise ValueError(f"{name}: got other values; expected 0 (incorrect), 1 (correct) or nan (undecided)")
    return a


def counts(x: Any, name: str = "tokens") -> np.ndarray:
    """(Q, n) of token counts: finite and not negative, or nan."""
    return not_negative(matrix(x, name), name)


def not_negative(a: np.ndarray, name: str) -> np.ndarray:
    if np.any(a < 0) or np.any(np.isinf(a)):
        raise ValueError(f"{name}: got negative or infinite values; expected finite token counts of 0 or more")
    return a


def rates(x: Any, name: str = "reference_rate") -> np.ndarray:
    """(Q,) of shares in [0, 1], or nan."""
    a = vector(x, name)
    if np.any(a < 0) or np.any(a > 1):
        raise ValueError(f"{name}: got values outside [0, 1]; expected fractions")
    return a


def same_shape(a: np.ndarray, name_a: str, b: np.ndarray, name_b: str) -> None:
    if a.shape != b.shape:
        raise ValueError(f"{name_b}: got shape {b.shape}; expected {a.shape}, as {name_a}")


def same_problems(a: np.ndarray, name_a: str, b: np.ndarray, name_b: str) -> None:
    if len(a) != len(b):
        raise ValueError(f"{name_b}: got {len(b)} problems; expected the {len(a)} of {name_a}")


def grid(budgets: Any, strict: bool = False) -> np.ndarray:
    """(B,) budgets above 0 in ascending order; `strict` rejects equal neighbours and infinity."""
    b = vector(np.atleast_1d(numbers(budgets, "budgets")), "budgets")
    if not np.all(b > 0):
        raise ValueError("budgets: got a value of 0 or less; expected values above 0")
    wrong = b[1:] <= b[:-1] if strict else b[1:] < b[:-1]
    if wrong.any() or (strict and np.isinf(b).any()):
        raise ValueError("budgets: expected ascending order" + (", finite, without repeats" if strict else ""))
    return b


def row_means(x: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """(Q,) mean of the kept samples of each problem; nan where none is kept."""
    n = keep.sum(axis=1)
    total = np.where(keep, x, 0.0).sum(axis=1)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)


def mean(x: np.ndarray) -> float:
    """Mean over values that are not nan; nan without any. Never warns."""
    x = x[~np.isnan(x)]
    return float(x.mean()) if x.size else NAN


def macro(x: np.ndarray, keep: np.ndarray) -> float:
    """Mean over the kept samples of a problem, then over problems."""
    return mean(row_means(x, keep))


def divide(a: np.ndarray, b: np.ndarray, otherwise: float = 0.0) -> np.ndarray:
    """a / b; `otherwise` if b is 0."""
    return np.where(b == 0, otherwise, a / np.where(b == 0, 1.0, b))
