"""Likelihood ratios of one block of requests: the arithmetic under every test, with no state.

A block is `bad_c` of `n_c` requests of the canary and `bad_s` of `n_s` of stable. A bet is a guess of both rates, made
before the block; its factor is likelihood(guess) / likelihood(nearest null point). The nearest point, by Kullback-Leibler
divergence weighted with the block's sizes, makes the factor an e-value for the whole convex null "rates differ by at most
the margin": its mean under any null point is at most 1. Rates that drift inside the block do not break that as long as both
sides drift together: the mean of a product of affine terms is largest when they are equal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

TINY: Final = 1e-12
MOST_LOG_FACTOR: Final = 500.0
"""Keeps exp() finite; evidence beyond it decides nothing more."""


def project(canary: float, stable: float, n_c: float, n_s: float, margin: float) -> float:
    """Stable's rate s of the null point (s + margin, s) nearest to the guess (canary, stable).

    Minimises n_c KL(canary, s + margin) + n_s KL(stable, s) by a safeguarded Newton iteration; the solution lies between
    `stable` and `canary - margin`.
    """
    if margin == 0:
        return (n_c * canary + n_s * stable) / (n_c + n_s)
    low, high = sorted((stable, canary - margin))
    low, high = max(low, TINY, TINY - margin), min(high, 1 - TINY, 1 - margin - TINY)
    point = min(max((n_c * (canary - margin) + n_s * stable) / (n_c + n_s), low), high)
    for _ in range(60):
        c = point + margin
        var_c, var_s = c * (1 - c), point * (1 - point)
        slope = n_c * (c - canary) / var_c + n_s * (point - stable) / var_s
        low, high = (low, point) if slope > 0 else (point, high)
        bend_c = n_c * (var_c - (c - canary) * (1 - 2 * c)) / var_c**2
        bend_s = n_s * (var_s - (point - stable) * (1 - 2 * point)) / var_s**2
        bend = bend_c + bend_s
        new = point - slope / bend if bend > 0 else (low + high) / 2
        if not low < new < high:
            new = (low + high) / 2
        if abs(new - point) <= 1e-13 + 1e-10 * point:
            return new
        point = new
    return point


def log_two(counts: tuple[float, float, float, float], canary: float, stable: float, margin: float) -> float:
    """Log factor of the block (bad_c, n_c, bad_s, n_s) for a guess, against "the rates differ by the margin"."""
    bad_c, n_c, bad_s, n_s = counts
    null_s = project(canary, stable, n_c, n_s, margin)
    return log_one(bad_c, n_c, canary, null_s + margin) + log_one(bad_s, n_s, stable, null_s)


def log_one(bad: float, n: float, guess: float, null: float) -> float:
    """Log factor of `bad` of `n` for a guess against one null rate; all rates lie strictly between 0 and 1."""
    return bad * math.log(guess / null) + (n - bad) * math.log((1 - guess) / (1 - null))


def log_mean_exp(terms: Sequence[float]) -> float:
    """Log of the mean of exp(terms), stable for large terms."""
    top = max(terms)
    return top + math.log(sum(math.exp(term - top) for term in terms) / len(terms))
