"""Memories: records of weights that carry a state along a sequence of observations.

Two kinds: the gated recurrent unit (Cho et al. 2014, in the form of PyTorch and cuDNN), and its
smallest relative, whose gates do not look at the state (minGRU: Feng et al. 2024, section 3.1).
"""

from collections.abc import Callable
from typing import Any, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from qmu import config
from qmu.agent.encoder import orthogonal
from qmu.agent.kinds import ActorLike
from qmu.agent.networks import Actor, Linear, fan_in, symmetric
from qmu.rows import Sequences, Timed

# Steps of a recurrence that become one iteration of a loop.
UNROLL = 4

Steps = Float[Array, "time batch numbers"]
State = Float[Array, "batch state"]


class Cell(Protocol):
    """What a memory is made of."""

    @property
    def size(self) -> int:
        """Numbers of a state."""

    def __call__(self, inputs: Steps, begins: Bool[Array, "time batch"], start: State) -> Steps:
        """Return the state after each input; zeros come before those that begin an episode."""


class GRU(eqx.Module):
    """A gated recurrent unit: r and z gate, n is new, h' = (1 - z) n + z h.

    Cho et al. 2014, eq. 5 to 8, with the reset gate behind the product of the state, as in PyTorch.
    Columns are those of r, z and n in this order.
    """

    inputs: Linear
    recurrent: Linear

    @property
    def size(self) -> int:
        """Numbers of a state."""
        return self.recurrent.weight.shape[0]

    def __call__(self, inputs: Steps, begins: Bool[Array, "time batch"], start: State) -> Steps:
        """Return the state after each input; zeros come before those that begin an episode."""
        gates = inputs @ self.inputs.weight + self.inputs.bias[None, None]
        return gated(gates, begins, start, self.recurrent.weight, self.recurrent.bias)


@jax.custom_vjp
def gated(
    gates: Float[Array, "time batch gates"],
    begins: Bool[Array, "time batch"],
    start: State,
    weight: Float[Array, "state gates"],
    bias: Float[Array, " gates"],
) -> Steps:
    """Return the states of a gated recurrent unit whose inputs have become gates already.

    Its gradient is a rule of its own: what is learned of the weights is one product over all steps
    behind the loop, instead of one within each.
    """
    return gated_forward(gates, begins, start, weight, bias)[0]


def gated_forward(
    gates: Array, begins: Array, start: Array, weight: Array, bias: Array
) -> tuple[Array, Any]:
    """Return the states, and what their gradient needs."""

    def step(state: Array, given: tuple[Array, Array]) -> tuple[Array, Any]:
        gate, begin = given
        before = jnp.where(begin[:, None], 0.0, state)
        own = before @ weight + bias[None]
        reset, keep = jnp.split(jax.nn.sigmoid((gate + own)[:, : 2 * size]), 2, axis=1)
        held = own[:, 2 * size :]
        new = jnp.tanh(gate[:, 2 * size :] + reset * held)
        after = new + keep * (before - new)
        return after, (after, (before, reset, keep, new, held))

    size = weight.shape[0]
    _, (states, steps) = jax.lax.scan(step, start, (gates, begins))
    return states, (steps, begins, weight)


def gated_backward(known: Any, slopes: Array) -> tuple[Array, None, Array, Array, Array]:
    """Return the gradient by gates, first state, weights and biases, of that by the states."""
    steps, begins, weight = known

    def step(later: Array, given: Any) -> tuple[Array, tuple[Array, Array]]:
        slope, begin, (before, reset, keep, new, held) = given
        slope = slope + later
        new_slope = slope * (1 - keep) * (1 - jnp.square(new))
        keep_slope = slope * (before - new) * keep * (1 - keep)
        reset_slope = new_slope * held * reset * (1 - reset)
        gate = jnp.concatenate([reset_slope, keep_slope, new_slope], axis=1)
        own = jnp.concatenate([reset_slope, keep_slope, new_slope * reset], axis=1)
        earlier = slope * keep + own @ weight.T
        return jnp.where(begin[:, None], 0.0, earlier), (gate, own)

    start, (gates, owns) = jax.lax.scan(
        step, jnp.zeros_like(slopes[0]), (slopes, begins, steps), reverse=True
    )
    before = steps[0]
    flat = owns.reshape(-1, owns.shape[-1])
    return (
        gates,
        None,
        start,
        before.reshape(-1, before.shape[-1]).T @ flat,
        jnp.sum(flat, axis=0),
    )


gated.defvjp(gated_forward, gated_backward)


class MinGRU(eqx.Module):
    """A linear recurrence whose gates see the input alone: h' = (1 - z) h + z n.

    Feng et al. 2024, section 3.1; here n has a tanh, which keeps the state in [-1, 1]. Columns are
    those of z and n.
    """

    inputs: Linear

    @property
    def size(self) -> int:
        """Numbers of a state."""
        return self.inputs.weight.shape[1] // 2

    def __call__(self, inputs: Steps, begins: Bool[Array, "time batch"], start: State) -> Steps:
        """Return the state after each input; zeros come before those that begin an episode."""
        gates = inputs @ self.inputs.weight + self.inputs.bias[None, None]
        take, new = jnp.split(gates, 2, axis=-1)
        take = jax.nn.sigmoid(take)
        keep = jnp.where(begins[..., None], 0.0, 1 - take)
        return linear(keep, take * jnp.tanh(new), start)


@jax.custom_vjp
def linear(keep: Steps, added: Steps, start: State) -> Steps:
    """Return h_t = keep_t h_(t-1) + added_t for all steps, number by number."""
    return linear_forward(keep, added, start)[0]


def linear_forward(keep: Array, added: Array, start: Array) -> tuple[Array, Any]:
    """Return the states, and what their gradient needs."""

    def step(state: Array, given: tuple[Array, Array]) -> tuple[Array, Array]:
        after = given[0] * state + given[1]
        return after, after

    _, states = jax.lax.scan(step, start, (keep, added), unroll=UNROLL)
    return states, (keep, states, start)


def linear_backward(known: Any, slopes: Array) -> tuple[Array, Array, Array]:
    """Return the gradient by what is kept and added and by the first state."""
    keep, states, start = known

    def step(later: Array, given: tuple[Array, Array]) -> tuple[Array, Array]:
        slope = given[0] + later
        return given[1] * slope, slope

    first, added = jax.lax.scan(
        step, jnp.zeros_like(start), (slopes, keep), reverse=True, unroll=UNROLL
    )
    before = jnp.concatenate([start[None], states[:-1]])
    return added * before, added, first


linear.defvjp(linear_forward, linear_backward)


class Memory(eqx.Module):
    """What is remembered of an episode: a cell, and what of each step it is fed."""

    cell: Cell
    fed: tuple[str, ...] = eqx.field(static=True)
    burn_in: int = eqx.field(static=True)

    def __call__(self, seen: Sequences, start: State | None) -> Float[Array, "rows seen"]:
        """Return the observations that are asked for, each with the state after it.

        Rows are those of the first step of all sequences, then those of the second, and so on.

        Args:
            seen: sequences of observations; all but those of the burn-in are asked for, unless they
                say which.
            start: the states before the first ones; None for zeros.
        """
        both = jnp.concatenate([seen.timed.obs, self.states(seen.timed, start)], axis=-1)
        if seen.asked is None:
            asked = both[self.burn_in :]
        else:
            asked = jnp.take_along_axis(both, seen.asked[..., None], axis=0)
        return asked.reshape(-1, both.shape[-1])

    def states(self, timed: Timed, start: State | None) -> Steps:
        """Return the state after each observation."""
        if start is None:
            start = jnp.zeros((timed.begins.shape[1], self.cell.size))
        given = {
            "observation": timed.obs,
            "action": timed.action,
            "reward": timed.reward[..., None],
        }
        fed = jnp.concatenate([given[name] for name in self.fed], axis=-1)
        return self.cell(fed, timed.begins, start)


class RecurrentActor(eqx.Module):
    """μ of an episode so far: a memory, and an actor that is given its state, too."""

    memory: Memory
    head: ActorLike

    def __call__(self, obs: Sequences) -> Float[Array, "rows action"]:
        """Return the actions for the observations that are asked for."""
        return self.head(self.recalled(obs))

    def learning(self, obs: Sequences) -> tuple[Float[Array, "rows action"], Any]:
        """Return the input of the final tanh for a batch to learn from, and the norms' state."""
        return self.head.learning(self.recalled(obs))

    def preactivation(self, obs: Sequences) -> Float[Array, "rows action"]:
        """Return the input of the final tanh."""
        return self.head.preactivation(self.recalled(obs))

    def hidden(self, obs: Sequences) -> list[Float[Array, "rows units"]]:
        """Return the hidden units of each layer, of those that are known."""
        return self.head.hidden(self.recalled(obs))

    def recalled(self, obs: Sequences) -> Float[Array, "rows seen"]:
        """Return what the head is given."""
        return self.memory(obs, obs.actor_state)

    def with_statistics(self, seen: Any) -> "RecurrentActor":
        """Return the actor with the running statistics of the norms `seen`, if any."""
        return RecurrentActor(self.memory, self.head.with_statistics(seen))

    def perturbed(self, key: PRNGKeyArray, std: float | Float[Array, ""]) -> "RecurrentActor":
        """Return the actor with noise on the weights of its head, but not of its memory."""
        assert isinstance(self.head, Actor)
        return RecurrentActor(self.memory, self.head.perturbed(key, std))


def init_gru(key: PRNGKeyArray, inputs: int, size: int) -> GRU:
    """Return a unit whose input weights are ±1/sqrt(fan-in), its recurrent ones orthogonal."""
    keys = jax.random.split(key, 4)
    recurrent = [orthogonal(own, (size, size), 1.0) for own in jax.random.split(keys[2], 3)]
    biases = [symmetric(own, size**-0.5, (3 * size,)) for own in (keys[1], keys[3])]
    return GRU(
        Linear(fan_in(keys[0], inputs, (inputs, 3 * size)), biases[0]),
        Linear(jnp.concatenate(recurrent, axis=1), biases[1]),
    )


def init_mingru(key: PRNGKeyArray, inputs: int, size: int) -> MinGRU:
    """Return a linear recurrence with weights of ±1/sqrt(fan-in)."""
    weight_key, bias_key = jax.random.split(key)
    shape = (inputs, 2 * size)
    return MinGRU(Linear(fan_in(weight_key, inputs, shape), fan_in(bias_key, inputs, (2 * size,))))


CELLS: dict[str, Callable[[PRNGKeyArray, int, int], Cell]] = {
    "gru": init_gru,
    "mingru": init_mingru,
}


def init_memory(
    key: PRNGKeyArray, obs_size: int, action_size: int, settings: config.Memory
) -> Memory:
    """Return a memory with random weights."""
    sizes = {"observation": obs_size, "action": action_size, "reward": 1}
    inputs = sum(sizes[name] for name in settings.fed)
    cell = CELLS[settings.kind](key, inputs, settings.size)
    return Memory(cell, settings.fed, settings.burn_in)


def state_size(settings: config.Memory) -> int:
    """Return the numbers of a memory's state: none without one."""
    return settings.size if settings.used else 0
