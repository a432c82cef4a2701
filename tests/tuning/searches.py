"""A search of Pendulum-v1 that was never done, for tests of what comes after one."""

import math

from qmu.config import reading
from qmu.tuning import plan
from qmu.tuning.search import EARLY, IMPOSSIBLE, WHOLE, Trial
from qmu.tuning.space import space_of

SPACE = {
    "actor": {"lr": {"log": [1e-4, 1e-2]}},
    "critic": {"count": {"choice": [1, 2]}},
}


def asked(**changes):
    """Return a tuning of Pendulum-v1."""
    train = {"total_steps": 600, "seeds": 2, "eval_interval": 100}
    base = reading.from_dict({"env": {"id": "Pendulum-v1"}, "train": train})
    whole = plan.Tuning(base, space_of(SPACE, base), 3, 200, "mean", 0, 3, 5)
    return whole if not changes else plan.Tuning(**(vars(whole) | changes))


def tried():
    """Return three trials: one stopped early, the best, one that could not be."""
    return [
        Trial(0, {"actor.lr": 0.001, "critic.count": "1"}, -500.0, (-5.0,), 200, 3.0, EARLY, ""),
        Trial(1, {"actor.lr": 0.002, "critic.count": "2"}, -200.0, (-2.0,), 600, 9.0, WHOLE, ""),
        Trial(2, {"actor.lr": 0.01, "critic.count": "1"}, -math.inf, (), 0, 1.0, IMPOSSIBLE, "no"),
    ]
