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

from qmu.agent.update import features, init, trace_numbers, update
from qmu.config import reading
from qmu.layout import Layout, Seen
from qmu.presets import read_preset
from qmu.rows import Batch, Sequences, Timed

OBS, ACTION, BATCH = 4, 2, 32
# Steps of a sequence: a batch is eight of them.
TIME = 4
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
    "categorical": {
        "critic": {"head": "categorical", "count": 2, "bins": 21},
        "replay": {"n_step": 1},
    },
    "unit_weights": {
        "actor": {"norm": "batch", "input_norm": True, "weight_norm": True},
        "critic": {
            "head": "hl-gauss",
            "bins": 101,
            "norm": "batch",
            "input_norm": True,
            "weight_norm": True,
            "joined": True,
        },
    },
    "residual": {
        "actor": {"body": "residual", "norm": "layer"},
        "critic": {"body": "residual", "loss": "huber"},
    },
    "images": {"encoder": {"features": 5, "shift": 2, "lr": 1e-3}},
    "gru": {"memory": {"kind": "gru", "size": 5, "lr": 2e-3, "sequence": TIME}},
    "mingru": {
        "memory": {"kind": "mingru", "size": 5, "fed": ["action", "reward"], "sequence": TIME},
        "critic": {"count": 2},
        "target": {"smoothing": "weights"},
    },
} | {name: read_preset(name) for name in ("default", "lillicrap2015", "claborne2023-ant", "td3")}
NUMBERS = Layout(OBS)
LAYOUTS = {"images": Layout(OBS, ((31, 33, 2),))}


def look(generator, numbers, layout):
    """Return observations of these numbers, with images where there are some."""
    if not layout.images:
        return numbers
    rows = len(numbers)
    images = [generator.integers(0, 256, (rows, *image), np.uint8) for image in layout.images]
    return Seen(jnp.asarray(numbers), tuple(map(jnp.asarray, images)))


def draw_batch(generator, layout):
    obs, next_obs = generator.normal(size=(2, BATCH, OBS))
    batch = Batch(
        obs=obs,
        action=generator.uniform(-1, 1, (BATCH, ACTION)),
        reward=obs[:, 0] - next_obs[:, 1] ** 2,
        discount=0.99 * (generator.random(BATCH) > 0.2),
        next_obs=next_obs,
        weight=1.0 * (generator.random(BATCH) > 0.1),
    )
    batch = Batch(*map(jnp.asarray, batch))
    seen, following = (look(generator, own, layout) for own in (obs, next_obs))
    return batch._replace(obs=seen, next_obs=following) if layout.images else batch


def draw_sequences(generator):
    """Return a batch of eight sequences, each with its following observation, by steps."""
    count, flat = BATCH // TIME, draw_batch(generator, NUMBERS)
    obs, action = (generator.normal(size=(TIME + 1, count, size)) for size in (OBS, ACTION))
    timed = Timed(obs, action, obs[..., 0], generator.random((TIME + 1, count)) < 0.2)
    timed = jax.tree.map(jnp.asarray, timed)
    states = tuple(jnp.asarray(generator.normal(size=(count, 5))) for _ in range(2))
    asked = jnp.asarray(np.repeat(np.arange(1, TIME + 1)[:, None], count, axis=1))
    return flat._replace(
        obs=Sequences(jax.tree.map(lambda leaf: leaf[:TIME], timed), *states),
        next_obs=Sequences(timed, *states, asked),
    )


def file_of(recipe):
    return Path(__file__).with_name(f"golden_{recipe}.json")


def alone(obs):
    """Return sequences of a single observation each."""
    rows = len(obs)
    nothing = jnp.zeros((1, rows, ACTION)), jnp.zeros((1, rows)), jnp.ones((1, rows), bool)
    return Sequences(Timed(obs[None], *nothing))


def doubled(leaf):
    return leaf.astype(jnp.float64) if leaf.dtype == jnp.float32 else leaf


# The options stay float32: the same numbers on every machine.
@jax.numpy_dtype_promotion("standard")
@jax.enable_x64(True)
def trace(recipe):
    """Return name -> numbers, after each of the recorded updates."""
    config = reading.from_dict(reading.merge(RECIPES[recipe], SMOOTH))
    generator, layout = np.random.default_rng(0), LAYOUTS.get(recipe, NUMBERS)
    agent = jax.jit(init, static_argnums=(1, 2))(jax.random.key(0), layout, ACTION, config)
    agent = jax.tree.map(doubled, agent)
    shown = look(generator, jnp.asarray(generator.normal(size=(1, OBS))), layout)
    step, numbers = jax.jit(update), trace_numbers(config)
    lines = {}
    for number in range(1, RECORDED[-1] + 1):
        key = jax.random.fold_in(jax.random.key(1), number)
        remembers = config.memory.used
        batch = draw_sequences(generator) if remembers else draw_batch(generator, layout)
        agent, metrics, _ = step(agent, batch, jnp.int32(number), key, numbers)
        if number in RECORDED:
            probe, slow = (features(own, shown) for own in (agent.encoder, agent.target.encoder))
            if remembers:
                probe = slow = alone(shown)
            recalled = agent.target.critics.recalled(slow)
            seen = {
                "critic_loss": metrics.critic_loss,
                "actor_loss": metrics.actor_loss,
                "action": agent.actor(probe)[0],
                "target_action": agent.target.actor(slow)[0],
                "target_value": agent.target.critics(recalled, jnp.zeros((1, ACTION)))[0, 0],
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
