"""The agent and its update, in the order of the paper's pseudocode.

Lillicrap et al. 2015, Algorithm 1. Numeric options arrive as traced arrays inside the
configuration (see `trace_numbers`); only this file unpacks them, the losses see arrays.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from qmu import config as options
from qmu.agent.losses import (
    actor_loss,
    critic_loss,
    preactivation_penalty,
    soft_update,
    td_target,
    weighted_mean,
)
from qmu.agent.networks import Actor, Critic, Critics, init_layers, init_norms
from qmu.config import Config
from qmu.records import Batch

ADAM = optax.scale_by_adam()


class Target(eqx.Module):
    """The slow copies of actor and critic that the TD target is computed with."""

    actor: Actor
    critics: Critics


class Agent(eqx.Module):
    """One member's networks, targets and optimizer states. Replaced by updates, never changed."""

    actor: Actor
    critics: Critics
    target: Target
    actor_optimizer: Any
    critics_optimizer: Any


class Metrics(eqx.Module):
    """What an update reports; means over the batch unless the name says otherwise."""

    actor_loss: Float[Array, ""]
    critic_loss: Float[Array, ""]
    q_mean: Float[Array, ""]
    q_max: Float[Array, ""]


def register_numbers() -> None:
    """Make configurations pytrees: numeric options are leaves, structural ones are structure."""
    for record in options.GROUPS.values():
        kinds: dict[str, list[str]] = {"numeric": [], "structural": []}
        for option in dataclasses.fields(record):
            kinds[option.metadata["kind"]].append(option.name)
        jax.tree_util.register_dataclass(record, kinds["numeric"], kinds["structural"])
    jax.tree_util.register_dataclass(Config, list(options.GROUPS), [])


register_numbers()


def trace_numbers(config: Config) -> Config:
    """Return the configuration with every numeric option as a float32 array."""
    return jax.tree.map(lambda number: jnp.asarray(number, jnp.float32), config)


def init(key: PRNGKeyArray, obs_size: int, action_size: int, config: Config) -> Agent:
    """Return a fresh agent; its targets equal its networks."""
    actor_key, critic_key = jax.random.split(key)
    actor_sizes = (obs_size, *config.actor.hidden_sizes, action_size)
    critic_sizes = (obs_size + action_size, *config.critic.hidden_sizes, 1)
    actor = Actor(
        init_layers(actor_key, actor_sizes, config.actor),
        init_norms(config.actor.hidden_sizes, config.actor.norm),
        config.actor.activation,
    )
    critics = Critics(
        tuple(
            Critic(
                init_layers(jax.random.fold_in(critic_key, index), critic_sizes, config.critic),
                init_norms(config.critic.hidden_sizes, config.critic.norm),
                config.critic.activation,
            )
            for index in range(config.critic.count)
        )
    )
    return Agent(
        actor=actor,
        critics=critics,
        target=Target(jax.tree.map(jnp.copy, actor), jax.tree.map(jnp.copy, critics)),
        actor_optimizer=adam_init(actor),
        critics_optimizer=adam_init(critics),
    )


def update(
    agent: Agent, batch: Batch, number: Int[Array, ""], config: Config
) -> tuple[Agent, Metrics]:
    """Return the agent after its update number `number` (the first is 1), and its metrics."""
    target = bootstrap(agent.target, batch)
    critics, critics_optimizer, critic_metrics = improve_critics(agent, batch, target, config)
    actor, actor_optimizer, loss = improve_actor(agent, critics, batch, config)
    followed = follow(agent.target, Target(actor, critics), number, config)
    agent = Agent(actor, critics, followed, actor_optimizer, critics_optimizer)
    return agent, Metrics(actor_loss=loss, **critic_metrics)


def bootstrap(target: Target, batch: Batch) -> Float[Array, " batch"]:
    """Return the TD targets of the batch, from the smallest of the target critics' values.

    Fujimoto et al. 2018, eq. 10; with a single critic it is the target of Lillicrap et al. 2015.
    """
    next_value = target.critics(batch.next_obs, target.actor(batch.next_obs))
    return td_target(batch.reward, batch.discount, jnp.min(next_value, axis=0))


def improve_critics(
    agent: Agent, batch: Batch, target: Float[Array, " batch"], config: Config
) -> tuple[Critics, Any, dict[str, Array]]:
    """Return the critics one Adam step closer to the targets."""

    def loss(critics: Critics) -> tuple[Array, Array]:
        values = critics(batch.obs, batch.action)
        losses = [critic_loss(value, target, batch.weight) for value in values]
        return sum(losses, jnp.zeros(())), values

    (total, values), gradient = jax.value_and_grad(loss, has_aux=True)(agent.critics)
    critics, optimizer = adam_step(
        agent.critics, gradient, agent.critics_optimizer, config.critic.lr
    )
    metrics = {
        "critic_loss": total / len(values),
        "q_mean": weighted_mean(jnp.mean(values, axis=0), batch.weight),
        "q_max": jnp.max(jnp.where(batch.weight[None] > 0, values, -jnp.inf)),
    }
    return critics, optimizer, metrics


def improve_actor(
    agent: Agent, critics: Critics, batch: Batch, config: Config
) -> tuple[Actor, Any, Float[Array, ""]]:
    """Return the actor one Adam step further up Q(s, μ(s))."""
    # Only the first critic is climbed, as in Fujimoto et al. 2018, Algorithm 1.
    critic = critics.each[0]

    def loss(actor: Actor) -> tuple[Array, Array]:
        preactivation = actor.preactivation(batch.obs)
        climbed = actor_loss(critic(batch.obs, jnp.tanh(preactivation)), batch.weight)
        penalty = preactivation_penalty(preactivation, batch.weight)
        return climbed + config.actor.preactivation_penalty * penalty, climbed

    (_, climbed), gradient = jax.value_and_grad(loss, has_aux=True)(agent.actor)
    actor, optimizer = adam_step(agent.actor, gradient, agent.actor_optimizer, config.actor.lr)
    return actor, optimizer, climbed


def follow(target: Target, online: Target, number: Int[Array, ""], config: Config) -> Target:
    """Return the targets after a soft update, which is due every `target.interval` updates."""
    if config.target.interval == 1:
        return soft_update(target, online, config.target.tau)
    return jax.lax.cond(
        number % config.target.interval == 0,
        lambda: soft_update(target, online, config.target.tau),
        lambda: target,
    )


def adam_init(parameters: Any) -> Any:
    """Return Adam's state before the first step."""
    with jax.numpy_dtype_promotion("standard"):
        return ADAM.init(parameters)


def adam_step(parameters: Any, gradient: Any, state: Any, lr: float | Array) -> tuple[Any, Any]:
    """Return the parameters and Adam's state after one step (Kingma and Ba 2015, Algorithm 1)."""
    # Optax mixes dtypes, which strict promotion refuses.
    with jax.numpy_dtype_promotion("standard"):
        step, state = ADAM.update(gradient, state)
    return jax.tree.map(lambda old, change: old - lr * change, parameters, step), state
