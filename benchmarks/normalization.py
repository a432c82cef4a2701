"""Pendulum whose observations have other units and offsets, with `--env.normalize-obs`.

    python benchmarks/normalization.py --output FILE.json

Each case is a run of five seeds, 6,000 steps, 64-64, batches of 64; the best policy of each seed is
scored on 20 new episodes. A solved pendulum has -100 to -200. It runs with older commits, too: put
their `src` before on PYTHONPATH. Results: benchmarks/results/normalization-DATE.json.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

import qmu

SMALL = {"hidden_sizes": [64, 64]}


class Units(NamedTuple):
    """What becomes of an observation: it is multiplied, and then something is added."""

    scale: float
    offset: float


CASES = {
    "as they are": Units(1.0, 0.0),
    "x 1e-5": Units(1e-5, 0.0),
    "x 1e8": Units(1e8, 0.0),
    "+ 1.7e9": Units(1.0, 1.7e9),
}


class Other(gym.ObservationWrapper[Any, Any, Any]):
    """Observes in other units, in double precision."""

    def __init__(self, environment: gym.Env[Any, Any], units: Units) -> None:
        """Take the environment and the units."""
        super().__init__(environment)
        self.units = units
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (3,), np.float64)

    def observation(self, observation: Any) -> Any:
        """Return an observation in the other units."""
        return np.float64(observation) * self.units.scale + self.units.offset


def scores(units: Units, seeds: int, steps: int) -> list[float]:
    """Return the final mean return of each seed."""
    with tempfile.TemporaryDirectory() as folder:
        run = qmu.train(
            lambda: Other(gym.make("Pendulum-v1"), units),
            seeds=seeds,
            total_steps=steps,
            env={"normalize_obs": True},
            replay={"batch_size": 64},
            train={"eval_interval": 2000, "eval_episodes": 5, "final_episodes": 20},
            log={"dir": folder, "tensorboard": False},
            actor=SMALL,
            critic=SMALL,
        )
        return [round(member["final_mean_reward"], 1) for member in run.info["members"]]


def main() -> None:
    """Train, print and write down."""
    parser = argparse.ArgumentParser(description="Normalize observations in other units.")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6_000)
    parser.add_argument("--output", type=Path, default=None)
    arguments = parser.parse_args()
    found = {}
    for name, units in CASES.items():
        found[name] = scores(units, arguments.seeds, arguments.steps)
        print(f"  {name:12} {found[name]}", flush=True)
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
