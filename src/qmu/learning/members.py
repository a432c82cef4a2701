"""The members of a group: what they are on a device, and what they begin as."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from qmu import config as options
from qmu.agent import update as algorithm
from qmu.agent.custom import BUILT_IN, Makers
from qmu.agent.update import Agent
from qmu.config import Config
from qmu.layout import Layout
from qmu.learning.groups import Group
from qmu.replay.priority import Priorities, init_priorities
from qmu.replay.stream import Stream, init_stream

# What a member's random numbers are for: each purpose has its own key, derived from the seed.
INIT, SAMPLE, UPDATE, VITALS = 0, 1, 2, 3


class Members(eqx.Module):
    """A group's state: agents, their stream, and what their random numbers derive from."""

    agents: Agent
    stream: Stream
    priorities: Priorities | None
    keys: Array


def init_members(
    group: Group, layout: Layout, action_size: int, makers: Makers = BUILT_IN
) -> Members:
    """Return the group's fresh members, on its device."""
    size, config = len(group.members), group.members[0].config
    with jax.default_device(group.device):
        found = [
            init_compiled(np.uint32(member.seed), made_by(member.config), layout, action_size)
            if makers == BUILT_IN
            # Functions of the user's own may do anything with a key, and with numbers.
            else init_member(member.seed, member.config, layout, action_size, makers)
            for member in group.members
        ]
        rows = options.stream_rows(config, bool(layout.images))
        states = options.stored_numbers(config)
        stream = init_empty(rows, size, config.env.count, layout, action_size, states)
        slots = config.env.count * stream.rows_per_world
        fading = config.replay.fade is not None
        priorities = init_priorities(size, slots, fading) if config.replay.by_priority else None
    # Stacked on the host, which compiles nothing.
    agents, keys = jax.tree.map(lambda *leaves: np.stack(leaves), *jax.device_get(found))
    return jax.device_put(Members(agents, stream, priorities, keys), group.device)


def init_member(
    seed: Any, config: Config, layout: Layout, action_size: int, makers: Makers = BUILT_IN
) -> tuple[Agent, Array]:
    """Return a member's fresh agent, and what its random numbers derive from."""
    root = jax.random.key(seed)
    key = jax.random.fold_in(root, INIT)
    agent = algorithm.init(key, layout, action_size, config, makers)
    return agent, jax.random.key_data(root)


# One program instead of one for each of its operations: a start takes a second less. It runs once:
# what a compiler takes its time for does not pay.
init_compiled = jax.jit(
    init_member,
    static_argnums=(2, 3),
    compiler_options={"xla_llvm_disable_expensive_passes": True},
)
init_empty = jax.jit(init_stream, static_argnums=(0, 1, 2, 3, 4, 5))


def made_by(config: Config) -> Config:
    """Return what a fresh agent is made by, its numbers as arrays; the rest is as usual."""
    usual = Config()
    env = dataclasses.replace(
        usual.env,
        normalize_obs=config.env.normalize_obs,
        obs_clip=config.env.obs_clip,
        normalize_rewards=config.env.normalize_rewards,
    )
    made = dataclasses.replace(
        usual,
        env=env,
        actor=config.actor,
        critic=config.critic,
        encoder=config.encoder,
        memory=config.memory,
    )
    return jax.tree.map(np.float32, made)


def copied(arrays: Any, device: Any) -> Any:
    """Return arrays on a device that share no memory with these."""
    return jax.device_put(jax.tree.map(np.array, arrays), device)


def stack_numbers(group: Group) -> Config:
    """Return the members' configuration with each numeric option as an array over them.

    Of the options that are part of the program, those that it never asks for are the default ones:
    runs that differ in nothing else share a program.
    """
    found = [options.resolved(learned_by(member.config)) for member in group.members]
    traced = [algorithm.trace_numbers(config) for config in found]
    return jax.tree.map(lambda *numbers: jnp.stack(numbers), *traced)


def learned_by(config: Config) -> Config:
    """Return a configuration without what says where, how long and in which world is learned."""
    usual = Config()
    env = dataclasses.replace(
        usual.env,
        obs_clip=config.env.obs_clip,
        reward_scale=config.env.reward_scale,
        normalize_rewards=config.env.normalize_rewards,
    )
    return dataclasses.replace(config, env=env, train=usual.train, log=usual.log)
