"""What tests of updates have in common: small agents, small batches, comparisons of trees."""

import jax
import jax.numpy as jnp
import numpy as np

from qmu.agent.update import init, update
from qmu.layout import Layout
from qmu.rows import Batch

OBS, ACTION, BATCH = 2, 1, 4
INIT = jax.jit(init, static_argnums=(1, 2))
UPDATE = jax.jit(update)


def make_batch(seed=0, rows=BATCH, **columns):
    """Return a batch of random rows that all bootstrap, with some columns given."""
    generator = np.random.default_rng(seed)
    drawn = {
        "obs": generator.normal(size=(rows, OBS)),
        "action": generator.uniform(-1, 1, (rows, ACTION)),
        "reward": generator.normal(size=rows),
        "discount": np.full(rows, 0.9),
        "next_obs": generator.normal(size=(rows, OBS)),
        "weight": np.ones(rows),
    }
    return Batch(
        **{name: jnp.asarray(value, jnp.float32) for name, value in drawn.items()}
    )._replace(**columns)


def make_agent(config, seed=0):
    return INIT(jax.random.key(seed), Layout(OBS), ACTION, config)


def assert_same(left, right, rtol=0.0, atol=0.0):
    for one, other in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=atol)
