"""What a search's preset is worth, by how it is chosen: `python benchmarks/finals.py`.

Searches are simulated: ten recipes are trained to the end, the first is the base recipe, and what
each is worth is known. Each line says what the chosen recipe is worth beyond the base recipe, in
standard deviations of a seed, and in how many of the searches it is worse.
"""

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from qmu.records import stats
from qmu.records.stats import Floats

RECIPES, TRIAL_SEEDS = 10, 3

Numbers = NDArray[np.intp]
# Draws scores [recipes, seeds] of recipes by their numbers.
Draw = Callable[[Numbers, int], Floats]
# Chooses a recipe's number, by scores that it may draw.
Choose = Callable[[Draw], int]


def ceiling(rng: np.random.Generator) -> tuple[Floats, Draw]:
    """Return recipes that all reach a ceiling, but for seeds that fail: from 0 to 40% of them.

    Of the base recipe it is 10%.
    """
    share = rng.uniform(0, 0.4, RECIPES)
    share[0] = 0.1
    fall = 3.0

    def draw(numbers: Numbers, seeds: int) -> Floats:
        shape = (len(numbers), seeds)
        failed = rng.random(shape) < share[numbers][:, None]
        return 0.1 * rng.normal(size=shape) - fall * failed

    return -fall * share, draw


def scattered(rng: np.random.Generator) -> tuple[Floats, Draw]:
    """Return recipes that are worth as much more or less as a seed scatters."""
    worth = rng.normal(size=RECIPES)
    worth[0] = 0.0

    def draw(numbers: Numbers, seeds: int) -> Floats:
        return worth[numbers][:, None] + rng.normal(size=(len(numbers), seeds))

    return worth, draw


def tuned_before(rng: np.random.Generator) -> tuple[Floats, Draw]:
    """Return recipes of which the base recipe is better than all but one in six others."""
    worth, draw = scattered(rng)
    worth[0] = 1.0
    return worth, draw


def ranked(draw: Draw, seeds: int) -> Numbers:
    """Return the recipes by their scores in the search, the best first."""
    return np.argsort(-draw(np.arange(RECIPES), seeds).mean(axis=1))


def by_search(seeds: int) -> Choose:
    """Choose the best of a search."""
    return lambda draw: int(ranked(draw, seeds)[0])


def by_final(finalists: int, seeds: int, errors: float = 1) -> Choose:
    """Choose the best of a final; in it are the best of the search and the base recipe.

    It has to be above the base recipe by so many standard errors of the difference.
    """

    def choose(draw: Draw) -> int:
        best = ranked(draw, TRIAL_SEEDS)
        numbers = np.array([0, *best[best != 0][:finalists]])
        scores = draw(numbers, seeds)
        margins = [errors * stats.error_of_difference(own, scores[0]) for own in scores]
        means = scores.mean(axis=1)
        better = [
            place for place in range(len(numbers)) if means[place] > means[0] + margins[place]
        ]
        return int(numbers[max(better, key=lambda place: means[place], default=0)])

    return choose


RULES = {
    "best of the search, 3 seeds a trial": by_search(3),
    "best of the search, 5 seeds a trial": by_search(5),
    "final of 3, 5 seeds, no margin": by_final(3, 5, 0),
    "final of 3, 5 seeds, one error": by_final(3, 5),
    "final of 3, 5 seeds, two errors": by_final(3, 5, 2),
    "final of 1, 5 seeds, one error": by_final(1, 5),
    "final of 6, 5 seeds, one error": by_final(6, 5),
    "final of 3, 3 seeds, one error": by_final(3, 3),
    "final of 3, 10 seeds, no margin": by_final(3, 10, 0),
    "final of 3, 10 seeds, one error": by_final(3, 10),
}


def main() -> None:
    """Print what each rule is worth in each kind of world."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--searches", type=int, default=2000)
    searches = parser.parse_args().searches
    for world in (ceiling, scattered, tuned_before):
        print(f"{world.__name__}, {searches} searches: worth, worse than the base recipe")
        for name, choose in RULES.items():
            rng = np.random.default_rng(0)
            gains = np.zeros(searches)
            for index in range(searches):
                worth, draw = world(rng)
                gains[index] = worth[choose(draw)] - worth[0]
            print(f"  {name:38} {gains.mean():+.2f}  {np.mean(gains < 0):.0%}", flush=True)


if __name__ == "__main__":
    main()
