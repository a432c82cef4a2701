"""Fifty updates from a fixed seed, compared to stored numbers, in double precision.

In single precision the numbers would be those of one kind of processor: Adam turns the rounding
error of a gradient near zero into a step of full size. Doubled, such errors end below 1e-10.

After a change that is meant to change them: `python tests/agent/test_golden.py` writes them anew.
The commit says why. (JAX and NumPy may change how they draw random numbers; that is a reason.)
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from budget import some

from qmu.agent.update import init, trace_numbers, update
from qmu.config import reading
from qmu.layout import Layout
from qmu.presets import read_preset
from qmu.rows import Batch

OBS, ACTION, BATCH = 4, 2, 32
RECORDED = (1, 2, 5, 10, 20, 30, 40, 50)
# tanh is smooth: a kink would make a rounding error a different gradient.
SMOOTH = {name: {"hidden_sizes": [16, 16], "activation": "tanh"} for name in ("actor", "critic")}
SMOOTH["replay"] = {"batch_size": BATCH}
RECIPES = {
    "ddpg": {
        "actor": {"preactivation_penalty": 0},
        "critic": {"norm": "none"},
        "target": {"tau": 0.05, "interval": 2, "smoothing_std": None},
    },
    "two_critics": {
        "critic": {"count": 2},
        "actor": {"norm": "layer"},
        "target": {"smoothing_std": None},
    },
} | {name: read_preset(name) for name in ("default", "lillicrap2015", "claborne2023-ant", "td3")}


def draw_batch(generator):
    obs, next_obs = generator.normal(size=(2, BATCH, OBS))
    batch = Batch(
        obs=obs,
        action=generator.uniform(-1, 1, (BATCH, ACTION)),
        reward=obs[:, 0] - next_obs[:, 1] ** 2,
        discount=0.99 * (generator.random(BATCH) > 0.2),
        next_obs=next_obs,
        weight=1.0 * (generator.random(BATCH) > 0.1),
    )
    return Batch(*map(jnp.asarray, batch))


def file_of(recipe):
    return Path(__file__).with_name(f"golden_{recipe}.json")


def doubled(leaf):
    return leaf.astype(jnp.float64) if leaf.dtype == jnp.float32 else leaf


# The options stay float32: the same numbers on every machine.
@jax.numpy_dtype_promotion("standard")
@jax.enable_x64(True)
def trace(recipe):
    """Return name -> numbers, after each of the recorded updates."""
    config = reading.from_dict(reading.merge(RECIPES[recipe], SMOOTH))
    generator = np.random.default_rng(0)
    agent = jax.jit(init, static_argnums=(1, 2))(jax.random.key(0), Layout(OBS), ACTION, config)
    agent = jax.tree.map(doubled, agent)
    probe = jnp.asarray(generator.normal(size=(1, OBS)))
    step, numbers = jax.jit(update), trace_numbers(config)
    lines = {}
    for number in range(1, RECORDED[-1] + 1):
        key = jax.random.fold_in(jax.random.key(1), number)
        batch = draw_batch(generator)
        agent, metrics, _ = step(agent, batch, jnp.int32(number), key, numbers)
        if number in RECORDED:
            seen = {
                "critic_loss": metrics.critic_loss,
                "actor_loss": metrics.actor_loss,
                "action": agent.actor(probe)[0],
                "target_action": agent.target.actor(probe)[0],
                "target_value": agent.target.critics(probe, jnp.zeros((1, ACTION)))[0, 0],
            }
            for name, value in seen.items():
                lines.setdefault(name, []).append(np.round(np.float64(value), 10).tolist())
    return lines


@pytest.mark.parametrize("recipe", some(RECIPES, ["default", "ddpg", "td3"]))
def test_fifty_updates_lead_to_the_stored_numbers(recipe):
    golden = json.loads(file_of(recipe).read_text(encoding="utf-8"))
    traced = trace(recipe)
    assert set(traced) == set(golden)
    for name, numbers in golden.items():
        np.testing.assert_allclose(traced[name], numbers, rtol=1e-8, atol=1e-9, err_msg=name)


if __name__ == "__main__":
    for recipe in RECIPES:
        text = json.dumps(trace(recipe), indent=1) + "\n"
        file_of(recipe).write_text(text, encoding="utf-8")
