"""Short words for the definitions: windows of rows, and sums without rounding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import fsum, sqrt
from typing import Any


def trailing(rows: Sequence[Any], window: int, what: Callable[[Sequence[Any]], Any]) -> list[Any]:
    """Apply `what` to the last `window` rows at each row; None while one is missing."""
    found = []
    for t in range(len(rows)):
        part = rows[t + 1 - window : t + 1] if t + 1 >= window else [None]
        found.append(None if missing(part) else what(part))
    return found


def missing(rows: Sequence[Any]) -> bool:
    """Whether a row, or a value in it, is None."""
    return any(r is None or (isinstance(r, tuple) and None in r) for r in rows)


def mean(x: Sequence[float]) -> float:
    """Arithmetic mean."""
    return fsum(x) / len(x)


def moment(x: Sequence[float], k: int) -> float:
    """Sum of the k-th powers of the deviations from the mean."""
    centre = mean(x)
    return fsum((v - centre) ** k for v in x)


def comoment(x: Sequence[float], y: Sequence[float]) -> float:
    """Sum of the products of the deviations."""
    mx, my = mean(x), mean(y)
    return fsum((a - mx) * (b - my) for a, b in zip(x, y, strict=True))


def correlation(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Pearson's correlation; None where one side is constant."""
    if len(set(x)) < 2 or len(set(y)) < 2:
        return None
    return comoment(x, y) / sqrt(moment(x, 2) * moment(y, 2))


def quantile(x: Sequence[float], q: float) -> float:
    """Type-7 quantile: linear between the order statistics."""
    ranked = sorted(x)
    place = (len(ranked) - 1) * q
    low = int(place)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (ranked[high] - ranked[low]) * (place - low)


def exponential_weights(n: int, alpha: float) -> list[float]:
    """Alpha (1 - alpha)^age, the oldest value holding the rest, so that they sum to 1."""
    return [(1 - alpha) ** (n - 1 - i) * (alpha if i else 1) for i in range(n)]


def weighted_comoment(x: Sequence[float], y: Sequence[float], weights: Sequence[float]) -> float:
    """Weighted mean of the products of deviations from the weighted means."""
    mx = sum(w * v for w, v in zip(weights, x, strict=True))
    my = sum(w * v for w, v in zip(weights, y, strict=True))
    return sum(w * (a - mx) * (b - my) for w, a, b in zip(weights, x, y, strict=True))


LONGEST_FILTER = 100_000


def frac_diff_weights(d: float, tau: float) -> list[float]:
    """w[0] = 1, w[k] = -w[k-1] (d - k + 1) / k, while |w[k]| >= tau; or the first tau of them."""
    weights, k = [1.0], 1
    while k < (tau if tau >= 1 else LONGEST_FILTER + 1):
        following = -weights[k - 1] * (d - k + 1) / k
        if tau < 1 and abs(following) < tau:
            break
        weights.append(following)
        k += 1
    return weights
