"""What actions without a policy are worth: the score that a study's `low` stands for.

    python benchmarks/random_actions.py

Uniform actions over the whole range, 100 episodes per world, with seeds 0 to 99. The mean, spread
and every return go to benchmarks/results/random-actions.json.
"""

import json
import statistics
from pathlib import Path

import gymnasium as gym
from process import machine, package_versions

RESULTS = Path(__file__).resolve().parent / "results" / "random-actions.json"
EPISODES = 100
WORLDS = (
    "Pendulum-v1",
    "InvertedPendulum-v5",
    "MountainCarContinuous-v0",
    "Hopper-v5",
    "HalfCheetah-v5",
    "Walker2d-v5",
)


def returns(name: str) -> list[float]:
    """Return what each episode with random actions is worth."""
    world = gym.make(name)
    found = []
    for seed in range(EPISODES):
        world.reset(seed=seed)
        world.action_space.seed(seed)
        total, ended = 0.0, False
        while not ended:
            _, reward, terminated, truncated, _ = world.step(world.action_space.sample())
            total += float(reward)
            ended = terminated or truncated
        found.append(round(total, 2))
    world.close()
    return found


def main() -> None:
    """Measure all worlds, print their means, write every return."""
    worlds = {}
    for name in WORLDS:
        scores = returns(name)
        mean, spread = statistics.mean(scores), statistics.stdev(scores)
        print(f"{name:26} {mean:8.1f} (standard deviation {spread:.1f})", flush=True)
        worlds[name] = {"mean": round(mean, 2), "spread": round(spread, 2), "returns": scores}
    described = {"machine": machine(), "versions": package_versions(), "worlds": worlds}
    RESULTS.write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
