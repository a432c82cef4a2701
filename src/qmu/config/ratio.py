"""How often what is stored is learned from: the replay ratio, in words."""

import math

from qmu.config.lengths import batch_rows, total_steps
from qmu.config.whole import Config
from qmu.wording import counted

# Recipes of the literature draw a row 64 times or more; fewer than this, or more, is unusual.
FEW, MANY = 32, 10_000


def rows_per_update(config: Config) -> int:
    """Return how many transitions an update learns from; with a memory, those of its sequences."""
    learned = config.memory.sequence - config.memory.burn_in if config.memory.used else 1
    return batch_rows(config) * learned


def draws(config: Config) -> float:
    """Return how often a row is drawn on average: the rows of all updates for each step."""
    return config.train.updates_per_step * rows_per_update(config)


def seen_share(config: Config) -> float:
    """Return the share of a run's rows that are drawn at least once, where draws are uniform.

    Of rows that come at an even rate and are all kept, the one of the time t is drawn d ln(T / t)
    times on average, and not at all with a chance of (t / T)^d: on average 1 / (d + 1). Where the
    stream forgets, a row is drawn d times on average before it goes.
    """
    often = draws(config)
    if config.replay.capacity >= total_steps(config):
        return often / (often + 1.0)
    return 1.0 - math.exp(-often)


def ratio_words(config: Config) -> str:
    """Return the replay ratio, and what it comes to."""
    train = config.train
    if not train.updates_per_step:
        return "no updates"
    return (
        f"{counted_updates(train.updates_per_step)} a step, of "
        f"{counted(rows_per_update(config), 'row')} each: "
        f"a row is drawn {times(draws(config))} on average, {percent(seen_share(config))} of all "
        "at least once"
    )


def unusual(config: Config) -> tuple[str, str] | None:
    """Return what an unusual ratio means, and what to try; None of any other."""
    often = draws(config)
    if not config.train.updates_per_step or FEW <= often <= MANY:
        return None
    if often > MANY:
        return (
            f"A row is drawn {times(often)}, and most recipes draw it 64 to 512 times: critics may "
            "come to know what is stored by heart",
            "a lower --train.updates-per-step, or --critic.count 10 --critic.subset 2",
        )
    worlds = "" if config.env.count == 1 else f" (of all {config.env.count} worlds together)"
    return (
        f"A row is drawn {times(often)}, and most recipes draw it 64 to 512 times: little is "
        f"learned from each step{worlds}",
        "a larger --train.updates-per-step, a larger --replay.batch-size",
    )


def counted_updates(number: float) -> str:
    """Return a number of updates, in words."""
    return counted(int(number), "update") if number == int(number) else f"{number:.3g} updates"


def times(number: float) -> str:
    """Return how often, in words."""
    return f"{number:,.0f} times" if number >= 10 else f"{number:.2g} times"


def percent(share: float) -> str:
    """Return a share in words, which is only all of it where it is all."""
    return f"{math.floor(1000 * share) / 10:.1f}%"
