"""What memories have known before each new row of a stream, which is stored with it.

Kapturowski et al. 2019, section 2.3: sequences that begin with it need less of a burn-in. It is
computed where the rows arrive, with the weights that there are then, and not by those who act.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from qmu.agent import update as algorithm
from qmu.agent.memory import Memory, RecurrentActor
from qmu.agent.update import Agent
from qmu.learning.groups import for_each
from qmu.replay.stream import Stream, observed, startable, written_slots
from qmu.rows import Rows, Timed


def with_states(stream: Stream, rows: Rows, agents: Agent, before: Stream, platform: str) -> Stream:
    """Return the stream, to which rows were appended, with the states before each of them.

    Args:
        stream: after the rows were appended to it.
        rows: those of a chunk.
        agents: whose memories are asked, one per member.
        before: the stream before that.
        platform: of the device.
    """
    assert stream.states is not None
    assert before.states is not None
    known_states = before.states
    members, worlds, slots = rows.last.shape
    length = stream.rows_per_world
    slot = written_slots(before, rows)

    def one(position: Any, agent: Agent, rows: Rows) -> Float[Array, "worlds rows states"]:
        head = before.head[position]
        world = jnp.arange(worlds)
        places = (head[None] + jnp.arange(-1, slots)[:, None]) % length
        within = jnp.broadcast_to(world[None], places.shape)
        obs = observed(stream, position, within[1:], places[1:])
        known = before.numbers[position, world, places[0], stream.first_action :]
        goes_on = startable(before.flags[position, world, places[0]])
        begins = jnp.concatenate([~goes_on[None], rows.last.T[:-1]])
        action = jnp.concatenate([known[None, :, :-1], jnp.moveaxis(rows.action, 0, 1)[:-1]])
        reward = jnp.concatenate([known[None, :, -1], rows.reward.T[:-1]])
        timed = Timed(
            algorithm.encoded(agent, obs),
            jnp.where(begins[..., None], 0.0, action),
            jnp.where(begins, 0.0, reward),
            begins,
        )
        start = jnp.split(known_states[position, world, head], 2, axis=-1)
        found = [
            earlier(memory, timed, own) for memory, own in zip(memories(agent), start, strict=True)
        ]
        return jnp.moveaxis(jnp.concatenate(found, axis=-1), 0, 1)

    states = for_each(one, platform, agents, rows)
    member = jnp.arange(members)[:, None, None]
    world = jnp.arange(worlds)[None, :, None]
    put = stream.states.at[member, world, slot].set(states, mode="drop")
    return dataclasses.replace(stream, states=put)


def memories(agent: Agent) -> tuple[Memory, Memory]:
    """Return the memories of actor and critics."""
    assert isinstance(agent.actor, RecurrentActor)
    assert isinstance(agent.critics.memory, Memory)
    return agent.actor.memory, agent.critics.memory


def earlier(memory: Memory, timed: Timed, start: Array) -> Float[Array, "time batch state"]:
    """Return the state before each observation; zeros before those that begin an episode."""
    after = memory.states(timed, start)
    known = jnp.concatenate([start[None], after[:-1]])
    return jnp.where(timed.begins[..., None], 0.0, known)
