"""Worlds that are drawn, and their pictures."""

import gymnasium as gym
import numpy as np

from qmu.world.families import register
from qmu.world.painters import Drawing
from qmu.world.pixels import drawn

SMALL = Drawing(32)


def make(name, **given):
    """Return a world of this id that returns pictures."""
    register(name)
    return gym.make(name, render_mode="rgb_array", disable_env_checker=True, **given)


def pictures(name, drawing=SMALL, steps=5, look=lambda world: None):
    """Return the pictures of random steps in a world, which is looked at before each."""
    world = drawn(make(name), drawing)
    found = [world.reset(seed=3)[0]]
    world.action_space.seed(3)
    for _ in range(steps):
        look(world)
        found.append(world.step(world.action_space.sample())[0])
    assert world.observation_space.contains(found[-1])
    world.close()
    return np.array(found)
