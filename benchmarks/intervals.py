"""How often 95% intervals hold the truth, on simulated studies: `python benchmarks/intervals.py`.

Scores are drawn from distributions whose mean, and whose probability that one beats another, are
known. Each line says in how many of the simulated studies the interval held it.
"""

import argparse
from typing import Any

import numpy as np
from scipy import stats as scipy_stats

from qmu.records import stats
from qmu.records.stats import Floats

DEVIATIONS = 2**0.5


def normal(rng: np.random.Generator, shape: Any) -> Floats:
    """Return scores that scatter evenly; their mean is 0."""
    return rng.normal(size=shape)


def skewed(rng: np.random.Generator, shape: Any) -> Floats:
    """Return scores of which a few are far above the others; their mean is 0."""
    return rng.exponential(size=shape) - 1


def with_failures(rng: np.random.Generator, shape: Any) -> Floats:
    """Return scores of which one in five is a failure; their mean is 0."""
    return np.where(rng.random(shape) < 0.2, -0.8, 0.2) + 0.1 * rng.normal(size=shape)


def plain_percentiles(scores: Floats) -> tuple[float, float]:
    """Return the plain percentiles of a bootstrap, to compare with."""
    (drawn,) = stats.draws([scores])
    low, high = np.quantile(drawn.mean(axis=1), [stats.TAIL, 1 - stats.TAIL])
    return low, high


def means(rng: np.random.Generator, studies: int) -> None:
    """Print how often intervals of means hold the mean."""
    print(f"mean of one arm, {studies} studies: qmu, plain percentiles")
    for draw in (normal, skewed, with_failures):
        for seeds in (5, 10, 20):
            held = np.zeros(2)
            for scores in draw(rng, (studies, seeds)):
                own = stats.mean(scores)
                held += [
                    low <= 0 <= high
                    for low, high in [(own.low, own.high), plain_percentiles(scores)]
                ]
            ours, plain = held / studies
            print(f"  {draw.__name__:14} {seeds:3} seeds  {ours:.1%}  {plain:.1%}", flush=True)


def probabilities(rng: np.random.Generator, studies: int) -> None:
    """Print how often intervals of the probability that one arm beats another hold it."""
    print(f"probability that a seed beats another, {studies} studies")
    for seeds in (3, 5, 10):
        for truth in (0.5, 0.8, 0.9, 0.98):
            ahead = DEVIATIONS * scipy_stats.norm.ppf(truth)
            pairs = zip(
                ahead + normal(rng, (studies, seeds)), normal(rng, (studies, seeds)), strict=True
            )
            found = [stats.probability_of_improvement([one], [other]) for one, other in pairs]
            share = np.mean([one.low <= truth <= one.high for one in found])
            print(f"  truth {truth:.2f} {seeds:3} seeds  {share:.1%}", flush=True)


def main() -> None:
    """Print how often intervals hold the truth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000)
    arguments = parser.parse_args()
    rng = np.random.default_rng(1)
    means(rng, arguments.studies)
    probabilities(rng, 2 * arguments.studies)


if __name__ == "__main__":
    main()
