"""An environment of one's own: a tank that leaks, and a TD3 that keeps its level.

python examples/own_environment.py --total-steps 5000
"""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import tyro
from numpy.typing import NDArray

import qmu

Floats = NDArray[np.float32]


class Tank(gym.Env[Floats, Floats]):
    """Keep a leaking tank at the wanted level. An overflow ends the episode."""

    def __init__(self) -> None:
        """Say what is seen (level, wanted level) and what can be done (inflow)."""
        self.observation_space = gym.spaces.Box(0.0, 2.0, (2,), np.float32)
        self.action_space = gym.spaces.Box(0.0, 1.5, (1,), np.float32)
        self.level, self.wanted = 0.0, 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        """Begin with another level, and another one that is wanted."""
        super().reset(seed=seed)
        self.level, self.wanted = self.np_random.uniform(0.2, 1.0, size=2)
        return self.observe(), {}

    def step(self, action: Floats) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
        """Let water in for a moment; some flows out."""
        self.level = max(self.level + 0.1 * (float(action[0]) - self.level**0.5), 0.0)
        reward = 1.0 - abs(self.level - self.wanted)
        return self.observe(), reward, self.level > 1.2, False, {}

    def observe(self) -> Floats:
        """Return the level and the one that is wanted."""
        return np.array([self.level, self.wanted], np.float32)


def make_tank() -> gym.Env[Floats, Floats]:
    """Return a tank whose episodes have 100 steps."""
    return gym.wrappers.TimeLimit(Tank(), max_episode_steps=100)


def main(total_steps: int = 5_000, file: Path = Path("tank.safetensors")) -> qmu.TD3:
    """Return a model that has learned, been saved, loaded, and learned on."""
    model = qmu.TD3(make_tank, explore={"start_steps": total_steps // 5})
    model.learn(total_steps)
    print(f"after {model.steps:,} steps: {model.evaluate(episodes=10).mean:.1f} of 100")
    model.save(file)
    model.close()

    # A file cannot hold an environment, so it is given again.
    model = qmu.TD3.load(file, env=make_tank)
    model.learn(total_steps // 2)
    action, _ = model.predict(np.array([0.4, 0.8], np.float32))
    print(f"after {model.steps:,} steps: {model.evaluate(episodes=10).mean:.1f} of 100")
    print(f"inflow at level 0.4, wanted 0.8: {action[0]:.2f}")
    model.close()
    return model


if __name__ == "__main__":
    tyro.cli(main)
