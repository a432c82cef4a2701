"""What is measured about an agent's health: once in a while, on a batch of its own."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from qmu.agent.encoder import Encoder
from qmu.agent.update import Agent, Observations, features, in_rewards, prepared
from qmu.config import Config
from qmu.rows import Batch, Sequences

# An action beyond this is at its bound, as far as learning is concerned: tanh has lost 94% of its
# slope.
SATURATED = 0.97
# A unit whose outputs on a batch are no further apart than this says nothing about its inputs.
SAME = 1e-6


class Vitals(eqx.Module):
    """Numbers about an agent, on the observations of a batch. Gradients are Adam's alone."""

    saturated: Float[Array, ""]
    preactivation: Float[Array, ""]
    dead_actor: Float[Array, ""] | None
    dead_critic: Float[Array, ""] | None
    q_std: Float[Array, ""]
    target_gap: Float[Array, ""]
    reward_mean: Float[Array, ""]
    reward_std: Float[Array, ""]
    obs_smallest: Float[Array, ""]
    obs_largest: Float[Array, ""]
    actor_gradient: Float[Array, ""] | None
    critic_gradient: Float[Array, ""] | None
    dead_encoder: Float[Array, ""] | None = None
    saturated_features: Float[Array, ""] | None = None
    encoder_gradient: Float[Array, ""] | None = None
    memory_used: Float[Array, ""] | None = None
    saturated_memory: Float[Array, ""] | None = None


def vitals(agent: Agent, batch: Batch, config: Config) -> Vitals:
    """Return an agent's vitals on a batch; slots of weight 0 count, too.

    Args:
        agent: the agent.
        batch: drawn uniformly; actions in [-1, 1], rewards and observations as they are stored.
        config: numeric options as arrays.

    Returns:
        The share of actions μ(s) beyond 0.97 and the root mean square of what the final tanh is
        given; the shares of hidden units of the actor and of the critics that say the same for the
        whole batch, where layers are known; the standard deviation of the first critic's Q(s, a),
        and how far its target network is from it on average; mean and standard deviation of the
        scaled rewards, over the steps of a window; the smallest and largest standard deviation of
        an observation's number, as the networks see it, of those that change (of images, of what an
        encoder makes of them); and the length of
        the gradients, the root of their mean square over the last thousand updates or so (from
        Adam's second moments: Kingma and Ba 2015, Algorithm 1). Where there are images, also the
        share of the convolutions' outputs that are the same everywhere in all of them, and of the
        features beyond 0.97, of built-in encoders, and the length of the encoder's gradient. With a
        memory, how far actions are apart on average from those with what is remembered of another
        sequence, and the share of both memories' states beyond 0.97.
    """
    batch = prepared(agent, batch, config)
    seen, slow_obs = (features(own, batch.obs) for own in (agent.encoder, agent.target.encoder))
    preactivation = agent.actor.preactivation(seen)
    obs, slow_obs = agent.critics.recalled(seen), agent.target.critics.recalled(slow_obs)
    critic, target = agent.critics.each[0], agent.target.critics.each[0]
    value = critic(obs, batch.action)
    encoded = as_rows(seen)
    spread = jnp.std(encoded, axis=0)
    return Vitals(
        saturated=jnp.mean(jnp.abs(jnp.tanh(preactivation)) > SATURATED, dtype=jnp.float32),
        preactivation=jnp.sqrt(jnp.mean(jnp.square(preactivation))),
        dead_actor=dead(agent.actor.hidden(seen)),
        dead_critic=dead(
            [units for own in agent.critics.each for units in own.hidden(obs, batch.action)]
        ),
        q_std=in_rewards(agent, jnp.std(value)),
        target_gap=in_rewards(agent, jnp.mean(jnp.abs(target(slow_obs, batch.action) - value))),
        reward_mean=in_rewards(agent, jnp.mean(batch.reward)),
        reward_std=in_rewards(agent, jnp.std(batch.reward)),
        obs_smallest=jnp.min(jnp.where(spread > SAME, spread, jnp.inf), initial=jnp.max(spread)),
        obs_largest=jnp.max(spread),
        actor_gradient=gradient_length(agent.actor_optimizer),
        critic_gradient=gradient_length(agent.critics_optimizer),
        **({} if agent.encoder is None else sight(agent.encoder, as_rows(batch.obs), encoded)),
        encoder_gradient=gradient_length(agent.encoder_optimizer),
        **(remembered(agent.actor, seen, obs) if config.memory.used else {}),
    )


def as_rows(obs: Observations) -> Any:
    """Return the observations of a batch, those of sequences step by step behind each other."""
    if not isinstance(obs, Sequences):
        return obs
    return jax.tree.map(
        lambda leaf: leaf.reshape(math.prod(leaf.shape[:2]), *leaf.shape[2:]), obs.timed.obs
    )


def remembered(
    actor: Any, seen: Observations, recalled: Float[Array, "rows seen"]
) -> dict[str, Array | None]:
    """Return what there is to say of memories.

    `recalled` is what the critics' memory has made of what is `seen`.
    """
    own, size = actor.recalled(seen), actor.memory.cell.size
    obs, states = own[:, :-size], own[:, -size:]
    # Rows of one step lie side by side: the next one is of another sequence.
    other = jnp.concatenate([obs, jnp.roll(states, 1, axis=0)], axis=1)
    both = jnp.concatenate([states, recalled[:, -size:]])
    return {
        "memory_used": jnp.mean(jnp.abs(actor.head(own) - actor.head(other))),
        "saturated_memory": jnp.mean(jnp.abs(both) > SATURATED, dtype=jnp.float32),
    }


def sight(
    encoder: Encoder, obs: Observations, encoded: Float[Array, "batch obs"]
) -> dict[str, Array | None]:
    """Return what there is to say of a built-in encoder, of what it saw and what it made of it."""
    maps = [
        one for own, seen in zip(encoder.images, obs.images, strict=True) for one in own.maps(seen)
    ]
    if not maps:
        return {}
    found = encoded[:, obs.numbers.shape[1] :]
    return {
        "dead_encoder": dead([one.reshape(-1, one.shape[-1]) for one in maps]),
        "saturated_features": jnp.mean(jnp.abs(found) > SATURATED, dtype=jnp.float32),
    }


def dead(layers: list[Float[Array, "batch units"]]) -> Float[Array, ""] | None:
    """Return the share of hidden units whose output is the same for the whole batch.

    None where no hidden units are known.
    """
    same = [jnp.max(layer, axis=0) - jnp.min(layer, axis=0) <= SAME for layer in layers]
    if not same:
        return None
    return jnp.mean(jnp.concatenate(same), dtype=jnp.float32)


def is_adam_state(state: Any) -> bool:
    """Tell whether this is Adam's part of an optimizer's state."""
    return isinstance(state, optax.ScaleByAdamState)


def gradient_length(optimizer: Any) -> Float[Array, ""] | None:
    """Return the root mean square of the gradient's length, by Adam's state; None without one."""
    found = [one for one in jax.tree.leaves(optimizer, is_leaf=is_adam_state) if is_adam_state(one)]
    if not found:
        return None
    squares: Array = sum((jnp.sum(leaf) for leaf in jax.tree.leaves(found[0].nu)), jnp.zeros(()))
    seen: Array = 1.0 - 0.999 ** found[0].count.astype(jnp.float32)
    return jnp.sqrt(squares / jnp.maximum(seen, SAME))
