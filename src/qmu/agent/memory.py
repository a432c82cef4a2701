"""Memories: records of weights that carry a state along a sequence of observations.

Two kinds: the gated recurrent unit (Cho et al. 2014, in the form of PyTorch and cuDNN), and its
smallest relative, whose gates do not look at the state (minGRU: Feng et al. 2024, section 3.1).
"""

import math
from collections.abc import Callable
from typing import Any, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from qmu import config
from qmu.agent.encoder import orthogonal
from qmu.agent.initial import fan_in, symmetric
from qmu.agent.kinds import ActorLike
from qmu.agent.layers import Linear
from qmu.agent.networks import Actor
from qmu.rows import Sequences, Timed

# Steps of a recurrence that become one iteration of a loop.
UNROLL = 4

Steps = Float[Array, "time batch numbers"]
State = Float[Array, "batch state"]
Rows = Float[Array, "rows numbers"]


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
        return gated(self, inputs, begins, start)

    def gates(self, given: Rows, before: Rows) -> tuple[Rows, Rows, Rows, Rows, Rows]:
        """Return the state after an input; r, z and n; and what r lets through."""
        seen = by_gate(given @ self.inputs.weight + self.inputs.bias[None])
        own = by_gate(before @ self.recurrent.weight + self.recurrent.bias[None])
        reset, keep = (jax.nn.sigmoid(seen[gate] + own[gate]) for gate in (0, 1))
        new = jnp.tanh(seen[2] + reset * own[2])
        return new + keep * (before - new), reset, keep, new, own[2]


def by_gate(array: Array) -> list[Array]:
    """Return an array as three of equal width: what is of r, z and n."""
    return jnp.split(array, 3, axis=-1)


@jax.custom_vjp
def gated(cell: GRU, inputs: Steps, begins: Bool[Array, "time batch"], start: State) -> Steps:
    """Return the states of a gated recurrent unit.

    Its gradient is a rule of its own: what does not wait for another step is done for all steps at
    once, behind the loop.
    """
    return gated_forward(cell, inputs, begins, start)[0]


def gated_forward(cell: GRU, inputs: Array, begins: Array, start: Array) -> tuple[Array, Any]:
    """Return the states, and what their gradient needs."""

    def step(state: Array, known: tuple[Array, Array]) -> tuple[Array, Array]:
        given, begin = known
        after, *_ = cell.gates(given, jnp.where(begin[:, None], 0.0, state))
        return after, after

    _, states = jax.lax.scan(step, start, (inputs, begins))
    return states, (cell, inputs, begins, start, states)


def gated_backward(known: Any, slopes: Array) -> tuple[GRU, Array, None, Array]:
    """Return the gradient by weights, inputs and first state, of that by the states."""
    cell, inputs, begins, start, states = known
    before = jnp.concatenate([start[None], states[:-1]])
    before = jnp.where(begins[..., None], 0.0, before)
    given, held = (one.reshape(-1, one.shape[-1]) for one in (inputs, before))
    _, reset, keep, new, let = (one.reshape(before.shape) for one in cell.gates(given, held))
    # What becomes of a state's gradient at the sums within the gates, and, for n, behind r.
    at_new = (1 - keep) * (1 - jnp.square(new))
    at_reset = at_new * let * reset * (1 - reset)
    at_keep = (before - new) * keep * (1 - keep)
    behind = at_new * reset
    columns = by_gate(cell.recurrent.weight)

    def step(later: Array, known: Any) -> tuple[Array, Array]:
        slope, begin, keep, *shares = known
        slope = slope + later
        earlier = slope * keep
        for share, column in zip(shares, columns, strict=True):
            earlier += (slope * share) @ column.T
        return jnp.where(begin[:, None], 0.0, earlier), slope

    first, whole = jax.lax.scan(
        step,
        jnp.zeros_like(start),
        (slopes, begins, keep, at_reset, at_keep, behind),
        reverse=True,
    )
    reset_slope, keep_slope, new_slope, behind_slope = (
        (whole * share).reshape(held.shape) for share in (at_reset, at_keep, at_new, behind)
    )
    sums = [reset_slope, keep_slope, new_slope]
    back = jnp.zeros_like(given)
    for slope, column in zip(sums, by_gate(cell.inputs.weight), strict=True):
        back += slope @ column.T
    learned = GRU(
        layer_slope(given, sums), layer_slope(held, [reset_slope, keep_slope, behind_slope])
    )
    return learned, back.reshape(inputs.shape), None, first


def layer_slope(given: Rows, slopes: list[Array]) -> Linear:
    """Return the gradient by a layer's weights and biases, of that by parts of what it returns."""
    return Linear(
        jnp.concatenate([given.T @ slope for slope in slopes], axis=1),
        jnp.concatenate([jnp.sum(slope, axis=0) for slope in slopes]),
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


def init_gru(key: PRNGKeyArray, inputs: int, size: int, span: int) -> GRU:
    """Return a unit whose input weights are ±1/sqrt(fan-in), its recurrent ones orthogonal."""
    keys = jax.random.split(key, 5)
    recurrent = [orthogonal(own, (size, size), 1.0) for own in jax.random.split(keys[2], 3)]
    given, held = (symmetric(own, size**-0.5, (3 * size,)) for own in (keys[1], keys[3]))
    keeps = slice(size, 2 * size)
    return GRU(
        Linear(
            fan_in(keys[0], inputs, (inputs, 3 * size)),
            given.at[keeps].set(kept(keys[4], size, span)),
        ),
        Linear(jnp.concatenate(recurrent, axis=1), held.at[keeps].set(0.0)),
    )


def init_mingru(key: PRNGKeyArray, inputs: int, size: int, span: int) -> MinGRU:
    """Return a linear recurrence with weights of ±1/sqrt(fan-in)."""
    weight_key, bias_key, span_key = jax.random.split(key, 3)
    bias = fan_in(bias_key, inputs, (2 * size,)).at[:size].set(-kept(span_key, size, span))
    return MinGRU(Linear(fan_in(weight_key, inputs, (inputs, 2 * size)), bias))


def kept(key: PRNGKeyArray, size: int, span: int) -> Float[Array, " size"]:
    """Draw biases of gates that keep numbers of a state for 2 to `span` steps.

    Tallec and Ollivier 2018, eq. 16: log(T - 1) for a time of T steps, as 1 - 1/T of a number is
    kept in each. There, times are uniform; here their logarithms are, so that many numbers follow
    what was just seen. Without it, half of a number is gone after every step, and what was seen 50
    steps ago has no gradient.
    """
    return jax.random.uniform(key, (size,), minval=0.0, maxval=math.log(max(span - 1, 1)))


CELLS: dict[str, Callable[[PRNGKeyArray, int, int, int], Cell]] = {
    "gru": init_gru,
    "mingru": init_mingru,
}


def init_memory(
    key: PRNGKeyArray, obs_size: int, action_size: int, settings: config.Memory
) -> Memory:
    """Return a memory with random weights."""
    sizes = {"observation": obs_size, "action": action_size, "reward": 1}
    inputs = sum(sizes[name] for name in settings.fed)
    cell = CELLS[settings.kind](key, inputs, settings.size, settings.sequence)
    return Memory(cell, settings.fed, settings.burn_in)


def state_size(settings: config.Memory) -> int:
    """Return the numbers of a memory's state: none without one."""
    return settings.size if settings.used else 0
