"""What several seeds say: means, intervals, profiles, and how likely one recipe beats another.

A score is one number per seed. Where several worlds are put together, scores are normalized first,
and seeds are drawn anew within each world and arm: a stratified bootstrap (Agarwal et al. 2021,
"Deep reinforcement learning at the edge of the statistical precipice").

Percentiles of a bootstrap are too narrow for a few seeds: of five normal numbers their 95% hold the
mean 85 times of 100. They are taken further out, by as much as Student's distribution is wider than
the normal one (Hesterberg 2015, "What teachers should know about the bootstrap", section 5.3): 93
times, of ten numbers 95 times. With fewer than five seeds there is no interval: three numbers lie
all on one side of their mean one time in four, and no drawing of them can tell.

Intervals of probabilities are Newcombe's, which do not shrink to nothing where all seeds of one
arm beat all of another.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# Scores per world: of each world, one number per seed.
Strata = Sequence[Floats]

TAIL = 0.025
RESAMPLES = 10_000
SCORE = float(scipy.special.ndtri(1 - TAIL))
CLOSE = 1e-9
FEWEST, FEWEST_AT_ALL = 5, 3
# A score is the mean of this many last evaluations; of fewer than thirty, of the last third.
LAST = 10


class Interval(NamedTuple):
    """An estimate, and the bounds of its 95% interval; NaN where there are too few seeds."""

    value: float
    low: float
    high: float


def last_scores(curves: Floats) -> Floats:
    """Return each seed's mean over its last evaluations; curves [seeds, evaluations]."""
    count = min(LAST, max(curves.shape[1] // 3, 1))
    means: Floats = np.mean(curves[:, -count:], axis=1)
    return means


def area_under(steps: Floats, curves: Floats) -> Floats:
    """Return each seed's mean score over the training, by trapezoids; curves [seeds, evaluations].

    It is the area under the curve from the first evaluation to the last, over the steps between.
    """
    if len(steps) == 1:
        return curves[:, 0]
    areas: Any = np.trapezoid(curves, steps, axis=1)
    return np.asarray(areas / (steps[-1] - steps[0]))


def steps_to(steps: Floats, curves: Floats, threshold: float) -> list[int | None]:
    """Return the steps of each seed's first evaluation at the threshold; None: it had none."""
    reached = curves >= threshold
    return [int(steps[row.argmax()]) if row.any() else None for row in reached]


def failed(scores: Floats, threshold: float) -> int:
    """Return how many seeds are below the threshold; one without a number is, too."""
    return int(np.sum(~(scores >= threshold)))


def normalized(scores: Floats, low: float, high: float) -> Floats:
    """Return scores on a scale where `low` is 0 and `high` is 1."""
    return (scores - low) / (high - low)


def mean(scores: Floats) -> Interval:
    """Return the mean over the seeds."""
    (drawn,) = draws([scores])
    return interval(float(np.mean(scores)), drawn.mean(axis=1), [scores])


def mean_of_episodes(value: float, std: float, episodes: int) -> Interval:
    """Return the mean return of some episodes, by Student's distribution; `std` is theirs."""
    if episodes < FEWEST_AT_ALL:
        return Interval(value, np.nan, np.nan)
    half = float(scipy.special.stdtrit(episodes - 1, 1 - TAIL)) * std / np.sqrt(episodes - 1)
    return Interval(value, value - half, value + half)


def difference(ours: Strata, theirs: Strata, comparisons: int = 1) -> Interval:
    """Return how far the middle of one arm is above that of another.

    Args:
        ours: scores of the one.
        theirs: scores of the other, in the same worlds.
        comparisons: among so many this one was chosen afterwards; the interval allows for it, by
            Bonferroni's inequality.
    """
    drawn = draws([*ours, *theirs])
    resampled = middle(drawn[: len(ours)]) - middle(drawn[len(ours) :])
    value = float(middle(ours) - middle(theirs))
    return interval(value, resampled, [*ours, *theirs], TAIL / comparisons)


def error_of_difference(ours: Floats, theirs: Floats) -> float:
    """Return the standard error of the difference of two arms' means; two seeds each, or more."""
    return float(np.sqrt(np.var(ours, ddof=1) / len(ours) + np.var(theirs, ddof=1) / len(theirs)))


def middle(strata: Strata) -> Floats:
    """Return the mean [...] of scores [..., seeds] of one world; of several the middle half's."""
    if len(strata) == 1:
        return np.asarray(np.mean(strata[0], axis=-1))
    return np.asarray(scipy.stats.trim_mean(np.concatenate(list(strata), axis=-1), 0.25, axis=-1))


def interquartile_mean(strata: Strata) -> Interval:
    """Return the mean of the middle half of all worlds' scores (Agarwal et al. 2021, section 4.3).

    What is cut off is a whole number of scores at each end, as in scipy's trimmed mean.
    """
    value = scipy.stats.trim_mean(np.concatenate(list(strata)), 0.25)
    drawn = np.concatenate(draws(strata), axis=1)
    return interval(float(value), np.asarray(scipy.stats.trim_mean(drawn, 0.25, axis=1)), strata)


def probability_of_improvement(ours: Strata, theirs: Strata) -> Interval:
    """Return how often a seed of ours beats one of theirs, the mean over worlds; ties are half.

    It is the Mann-Whitney statistic over its largest value (Agarwal et al. 2021, section 4.3), with
    the score interval of Newcombe (2006, "Confidence intervals for an effect size measure based on
    the Mann-Whitney statistic", part 2, method 5) in each world; those of several worlds are put
    together by their distances from the estimates (Zou and Donner 2008).
    """
    values, below, above = [], [], []
    for one, other in zip(ours, theirs, strict=True):
        value = float(beats(one, other))
        low, high = score_bounds(value, len(one), len(other))
        values.append(value)
        below.append(value - low)
        above.append(high - value)
    value, count = float(np.mean(values)), len(values)
    if too_few([*ours, *theirs], FEWEST_AT_ALL):
        return Interval(value, np.nan, np.nan)
    low, high = (float(np.sqrt(np.sum(np.square(side)))) / count for side in (below, above))
    return Interval(value, value - low, value + high)


def score_bounds(value: float, ours: int, theirs: int) -> tuple[float, float]:
    """Return the probabilities from which a share of pairs is 1.96 deviations away."""

    def beyond(probability: float) -> float:
        return (value - probability) ** 2 - SCORE**2 * variance(probability, ours, theirs)

    # At 0 and 1 the share itself is a root, and not the one that is looked for.
    low = 0.0 if value < CLOSE else scipy.optimize.brentq(beyond, 0.0, value - CLOSE)
    high = 1.0 if value > 1 - CLOSE else scipy.optimize.brentq(beyond, value + CLOSE, 1.0)
    return low, high


def variance(probability: float, ours: int, theirs: int) -> float:
    """Return the variance of the share of pairs (Hanley and McNeil 1982, of sizes put alike)."""
    size = (ours + theirs) / 2 - 1
    other = 1 - probability
    spread = 1 + size * (other / (2 - probability) + probability / (1 + probability))
    return probability * other * spread / (ours * theirs)


def beats(ours: Floats, theirs: Floats) -> Floats:
    """Return the share of pairs [..., ours, theirs] in which ours is larger; ties are half."""
    apart = ours[..., :, None] - theirs[..., None, :]
    share: Floats = np.mean((apart > 0) + 0.5 * (apart == 0), axis=(-2, -1))
    return share


def profile(strata: Strata, levels: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the share of runs above each level, and the bounds of its 95% band.

    Worlds count alike, whatever their number of seeds (Agarwal et al. 2021, section 4.2).
    """
    found = shares(strata, levels)
    if too_few(strata):
        return found, np.full_like(found, np.nan), np.full_like(found, np.nan)
    low, high = np.quantile(shares(draws(strata), levels), tails(strata), axis=0)
    return found, low, high


def shares(strata: Strata, levels: Floats) -> Floats:
    """Return the share of scores [..., seeds] above each level [..., levels], mean over worlds."""
    above = [1 - rank(np.sort(scores, axis=-1), levels) / scores.shape[-1] for scores in strata]
    mean_share: Floats = np.mean(above, axis=0)
    return mean_share


def rank(ordered: Floats, levels: Floats) -> NDArray[np.int64]:
    """Return how many of the ordered scores [..., seeds] are at most each level."""
    flat = ordered.reshape(-1, ordered.shape[-1])
    ranks = np.stack([np.searchsorted(row, levels, side="right") for row in flat])
    return ranks.reshape(*ordered.shape[:-1], len(levels))


def draws(strata: Strata) -> list[Floats]:
    """Return each stratum drawn anew from itself [resamples, seeds]; always the same draws."""
    rng = np.random.default_rng(0)
    return [scores[rng.integers(len(scores), size=(RESAMPLES, len(scores)))] for scores in strata]


def too_few(strata: Strata, fewest: int = FEWEST) -> bool:
    """Tell whether a stratum has too few seeds for an interval."""
    return min(len(scores) for scores in strata) < fewest


def tails(strata: Strata, tail: float = TAIL) -> tuple[float, float]:
    """Return the two percentiles that bound an interval, for the smallest number of seeds."""
    seeds = min(len(scores) for scores in strata)
    wider = np.sqrt(seeds / (seeds - 1)) * scipy.special.stdtrit(seeds - 1, tail)
    low = float(scipy.special.ndtr(wider))
    return low, 1 - low


def interval(value: float, resampled: Floats, strata: Strata, tail: float = TAIL) -> Interval:
    """Return an estimate with its interval, from its values on the draws of these strata."""
    if too_few(strata):
        return Interval(value, np.nan, np.nan)
    low, high = np.quantile(resampled, tails(strata, tail))
    return Interval(value, float(low), float(high))
