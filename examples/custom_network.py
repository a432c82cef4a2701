"""Actor and critic of one's own: residual networks, as Equinox modules.

python examples/custom_network.py --total-steps 10000
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import tyro
from jaxtyping import Array, Float, PRNGKeyArray

import qmu


class Residual(eqx.Module):
    """A layer, some that add something to what they are given, and a last one."""

    first: eqx.nn.Linear
    middle: tuple[eqx.nn.Linear, ...]
    last: eqx.nn.Linear

    def __init__(
        self, key: PRNGKeyArray, inputs: int, outputs: int, width: int = 64, depth: int = 2
    ) -> None:
        """Draw the weights."""
        keys = jax.random.split(key, depth + 2)
        self.first = eqx.nn.Linear(inputs, width, key=keys[0])
        self.middle = tuple(eqx.nn.Linear(width, width, key=own) for own in keys[2:])
        self.last = eqx.nn.Linear(width, outputs, key=keys[1])

    def __call__(self, row: Float[Array, " inputs"]) -> Float[Array, " outputs"]:
        """Return the outputs of one row, as modules of Equinox do."""
        units = jax.nn.relu(self.first(row))
        for layer in self.middle:
            units = units + jax.nn.relu(layer(units))
        return self.last(units)


class Actor(eqx.Module):
    """Says what the final tanh is given, which qmu applies."""

    body: Residual

    def __call__(self, obs: Float[Array, "batch obs"]) -> Float[Array, "batch action"]:
        """Return the outputs of a batch of observations."""
        return jax.vmap(self.body)(obs)


class Critic(eqx.Module):
    """Says what a pair of observation and action is worth."""

    body: Residual

    def __call__(
        self, obs: Float[Array, "batch obs"], action: Float[Array, "batch action"]
    ) -> Float[Array, " batch"]:
        """Return the values of a batch."""
        return jax.vmap(self.body)(jnp.concatenate([obs, action], axis=-1))[:, 0]


def make_actor(key: PRNGKeyArray, obs_size: int, action_size: int) -> Actor:
    """Return an actor with random weights."""
    return Actor(Residual(key, obs_size, action_size))


def make_critic(key: PRNGKeyArray, obs_size: int, action_size: int) -> Critic:
    """Return a critic with random weights."""
    return Critic(Residual(key, obs_size + action_size, 1))


NETWORKS = qmu.Networks(actor=make_actor, critic=make_critic)


def main(total_steps: int = 10_000) -> qmu.Run:
    """Return a run whose networks are those above, two critics of each seed."""
    run = qmu.train(
        "Pendulum-v1",
        seeds=2,
        total_steps=total_steps,
        networks=NETWORKS,
        critic={"count": 2},
        train={"eval_interval": max(total_steps // 5, 1)},
    )
    # A file holds only the numbers, so what makes the networks has to be given again.
    again = qmu.open_run(run.directory, networks=NETWORKS)
    print(f"best policy: {again.evaluate(episodes=10).mean:.1f}")
    return run


if __name__ == "__main__":
    tyro.cli(main)
