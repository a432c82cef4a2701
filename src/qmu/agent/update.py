"""The agent and its update, in the order of the paper's pseudocode.

Lillicrap et al. 2015, Algorithm 1. Numeric options arrive as traced arrays inside the
configuration (see `trace_numbers`); only this file unpacks them, the losses see arrays.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from qmu import config as options
from qmu.agent.custom import BUILT_IN, Makers
from qmu.agent.encoder import (
    Encoder,
    encoder_step,
    feature_count,
    init_encoder_optimizer,
)
from qmu.agent.heads import COMBINED, HEADS, SUPPORT
from qmu.agent.kinds import ActorLike
from qmu.agent.layers import Norms
from qmu.agent.losses import (
    actor_loss,
    critic_loss,
    preactivation_penalty,
    smoothed,
    soft_update,
    weighted_mean,
)
from qmu.agent.memory import RecurrentActor, init_memory, state_size
from qmu.agent.networks import Actor, Critics, Pairs, foreseen, learned_from
from qmu.agent.normalize import Normalizer, init_normalizer
from qmu.agent.optimizers import init_optimizer, optimizer_step, squared_weights
from qmu.agent.shares import SHARES, Regions, Share, init_regions
from qmu.agent.shift import augmented
from qmu.config import Config
from qmu.config.heads import normalizes_rewards
from qmu.layout import Layout, Seen
from qmu.rows import Batch, Sequences

Value = Float[Array, " batch"]
# Numbers [batch, obs], or `Seen` where there are images; in `Sequences` where there is a memory.
Observations = Any

# What an update's random numbers are for, beside those of the target: shifts of images.
SHIFT = 1
# Of a target so large, some lies beyond the bins, or would.
NEARLY_BEYOND = 0.98 * SUPPORT
# What the key of a network is for, beside the network: its memory.
MEMORY = 1_000_000


class Target(eqx.Module):
    """The slow copies of actor, critic and encoder that the TD target is computed with."""

    actor: ActorLike
    critics: Critics
    encoder: Encoder | None = None


class Agent(eqx.Module):
    """One member's networks, targets and optimizer states. Replaced by updates, never changed.

    Where observations have images, an encoder stands before actor and critics, which learns from
    the critics' loss alone.
    """

    actor: ActorLike
    critics: Critics
    encoder: Encoder | None
    target: Target
    actor_optimizer: Any
    critics_optimizer: Any
    encoder_optimizer: Any
    normalizer: Normalizer | None
    regions: Regions | None
    # How large a reward is that is learned from as 1; None where they are taken as they come.
    reward_unit: Float[Array, ""] | None = None


class Acting(eqx.Module):
    """What it takes to act: an actor, and the normalizer and encoder that it was trained with."""

    actor: ActorLike
    normalizer: Normalizer | None
    encoder: Encoder | None = None


class Metrics(eqx.Module):
    """What an update reports; means over the batch unless the name says otherwise."""

    actor_loss: Float[Array, ""]
    critic_loss: Float[Array, ""]
    q_mean: Float[Array, ""]
    q_max: Float[Array, ""]
    # With a memory: how many transitions there were in the sequences.
    transitions: Float[Array, ""] | None = None
    # With normalized rewards: what they are divided by.
    reward_unit: Float[Array, ""] | None = None
    # Of values in bins: the share of targets at or beyond the outermost ones.
    beyond_bins: Float[Array, ""] | None = None


def no_metrics(config: Config) -> Metrics:
    """Return the metrics of no update."""
    zero = jnp.zeros(())
    return Metrics(
        actor_loss=zero,
        critic_loss=zero,
        q_mean=zero,
        q_max=zero,
        transitions=zero if config.memory.used else None,
        reward_unit=zero if normalizes_rewards(config.env, config.critic) else None,
        beyond_bins=zero if config.critic.head != "scalar" else None,
    )


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


def init(
    key: PRNGKeyArray,
    layout: Layout,
    action_size: int,
    config: Config,
    makers: Makers = BUILT_IN,
) -> Agent:
    """Return a fresh agent, whose networks the makers make; its targets equal its networks."""
    images = layout.seen_images
    obs_size = feature_count(layout.seen_numbers, len(images), config.encoder)
    seen_size = obs_size + state_size(config.memory)
    actor_key, critic_key = jax.random.split(key)
    actor = init_actor(actor_key, obs_size, action_size, config, makers)
    keys = [jax.random.fold_in(critic_key, index) for index in range(config.critic.count + 1)]
    critics = Critics(
        tuple(makers.critic(own, seen_size, action_size, config.critic) for own in keys[:-1])
    )
    if config.memory.used:
        memory_key = jax.random.fold_in(critic_key, MEMORY)
        memory = init_memory(memory_key, obs_size, action_size, config.memory)
        critics = Critics(critics.each, memory)
    encoder = None
    if images:
        encoder_key = jax.random.fold_in(critic_key, config.critic.count + 1)
        encoder = makers.encoder(encoder_key, images, config.encoder)
    return Agent(
        actor=actor,
        critics=critics,
        encoder=encoder,
        target=Target(*jax.tree.map(jnp.copy, (actor, critics, encoder))),
        actor_optimizer=init_optimizer(actor, config.actor),
        critics_optimizer=init_optimizer(critics, config.critic),
        encoder_optimizer=None if encoder is None else init_encoder_optimizer(encoder),
        normalizer=init_normalizer(layout.seen_numbers, config),
        regions=init_regions(keys[-1], obs_size, action_size, config),
        reward_unit=jnp.ones(()) if normalizes_rewards(config.env, config.critic) else None,
    )


def init_actor(
    key: PRNGKeyArray, obs_size: int, action_size: int, config: Config, makers: Makers
) -> ActorLike:
    """Return a fresh actor for so many numbers and features, with a memory where there is one."""
    seen_size = obs_size + state_size(config.memory)
    actor = makers.actor(key, seen_size, action_size, config.actor)
    if not config.memory.used:
        return actor
    memory_key = jax.random.fold_in(key, MEMORY)
    return RecurrentActor(init_memory(memory_key, obs_size, action_size, config.memory), actor)


def acting(agent: Agent) -> Acting:
    """Return what is needed of an agent to act."""
    return Acting(agent.actor, agent.normalizer, agent.encoder)


def observe(
    agent: Agent, scales: tuple[Array, Array] | None, reward_unit: Float[Array, ""] | None
) -> Agent:
    """Return the agent with what is known by now of observations and rewards.

    Of observations these are means and deviations [obs], of rewards how large one is that is
    learned from as 1.
    """
    if agent.normalizer is not None and scales is not None:
        mean, std = scales
        normalizer = dataclasses.replace(agent.normalizer, mean=mean, std=std)
        agent = dataclasses.replace(agent, normalizer=normalizer)
    if agent.reward_unit is None:
        return agent
    return dataclasses.replace(agent, reward_unit=reward_unit)


def in_rewards(agent: Agent, value: Array) -> Array:
    """Return something that is learned in units of its own in those of the rewards."""
    return value if agent.reward_unit is None else agent.reward_unit * value


def update(
    agent: Agent, batch: Batch, number: Int[Array, ""], key: PRNGKeyArray, config: Config
) -> tuple[Agent, Metrics, Float[Array, " batch"]]:
    """Return the agent after its update number `number` (the first is 1), and its metrics.

    The last result is |y - Q(s, a)| of every row of the batch, before the update.
    """
    shares = SHARES[config.critic.batches](batch, agent.regions, config)
    batch = shifted(prepared(agent, batch, config), key, config)
    target, next_action = bootstrap(agent.target, batch, key, config)
    improved, critic_metrics, errors = improve_critics(
        agent, batch, target, next_action, shares, config
    )
    actor, actor_optimizer, loss = on_turn(
        number,
        config.actor.interval,
        lambda: improve_actor(agent, improved, batch, shares[0].rows, config),
        lambda: (agent.actor, agent.actor_optimizer, jnp.zeros(())),
    )
    online = Target(actor, improved.critics, improved.encoder)
    agent = dataclasses.replace(
        agent,
        actor=actor,
        critics=improved.critics,
        encoder=improved.encoder,
        target=follow(agent.target, online, number, config),
        actor_optimizer=actor_optimizer,
        critics_optimizer=improved.critics_optimizer,
        encoder_optimizer=improved.encoder_optimizer,
    )
    # The mean over all updates is then that of the actor's.
    loss = in_rewards(agent, loss * config.actor.interval)
    return agent, Metrics(actor_loss=loss, **critic_metrics), errors


def prepared(agent: Agent, batch: Batch, config: Config) -> Batch:
    """Return the batch as the networks see it: observations normalized, rewards scaled."""
    batch = batch._replace(reward=scaled(agent, batch.reward, config))
    if agent.normalizer is None:
        return batch
    obs, next_obs = (normalized(agent.normalizer, own) for own in (batch.obs, batch.next_obs))
    return batch._replace(obs=obs, next_obs=next_obs)


def scaled(agent: Agent, reward: Value, config: Config) -> Value:
    """Return rewards as they are learned from."""
    if agent.reward_unit is None:
        return config.env.reward_scale * reward
    return reward / agent.reward_unit


def normalized(normalizer: Normalizer | None, obs: Observations) -> Observations:
    """Return observations whose numbers are normalized, where that is on."""
    if normalizer is None:
        return obs
    if isinstance(obs, Sequences):
        return with_obs(obs, normalized(normalizer, obs.timed.obs))
    if isinstance(obs, Seen):
        return obs._replace(numbers=normalizer(obs.numbers))
    return normalizer(obs)


def shifted(batch: Batch, key: PRNGKeyArray, config: Config) -> Batch:
    """Return the batch with its images shifted at random, those of s and of s' apart."""
    if not sees_images(batch.obs):
        return batch
    keys = jax.random.split(jax.random.fold_in(key, SHIFT))
    obs, next_obs = (
        moved(own, one, config) for one, own in zip(keys, (batch.obs, batch.next_obs), strict=True)
    )
    return batch._replace(obs=obs, next_obs=next_obs)


def moved(obs: Observations, key: PRNGKeyArray, config: Config) -> Observations:
    """Return observations with their images shifted; those of a sequence all by the same."""
    if isinstance(obs, Sequences):
        return with_obs(obs, jax.vmap(lambda one: moved(one, key, config))(obs.timed.obs))
    return obs._replace(images=augmented(key, obs.images, config.encoder))


def sees_images(obs: Observations) -> bool:
    """Tell whether there are images in observations."""
    return isinstance(obs.timed.obs if isinstance(obs, Sequences) else obs, Seen)


def chosen(obs: Observations, rows: slice) -> Observations:
    """Return some rows of observations, or some of their sequences."""
    if not isinstance(obs, Sequences):
        return obs[rows]
    timed, asked = jax.tree.map(lambda leaf: leaf[:, rows], (obs.timed, obs.asked))
    states = jax.tree.map(lambda leaf: leaf[rows], (obs.actor_state, obs.critics_state))
    return Sequences(timed, states[0], states[1], asked)


def with_obs(sequences: Sequences, obs: Any) -> Sequences:
    """Return sequences of other observations."""
    return sequences._replace(timed=sequences.timed._replace(obs=obs))


def by_rows(function: Callable[[Any], Array], obs: Any) -> Float[Array, "time batch features"]:
    """Return what a function of batches says of observations [time, batch, ...]."""
    time, batch = jax.tree.leaves(obs)[0].shape[:2]
    rows = jax.tree.map(lambda leaf: leaf.reshape(time * batch, *leaf.shape[2:]), obs)
    return function(rows).reshape(time, batch, -1)


def features(encoder: Encoder | None, obs: Observations) -> Any:
    """Return what actor and critics are given of observations: themselves, without an encoder."""
    if encoder is None:
        return obs
    if isinstance(obs, Sequences):
        return with_obs(obs, by_rows(partial(features, encoder), obs.timed.obs))
    return encoder(obs.numbers, obs.images)


def encoded(agent: Agent, obs: Observations) -> Float[Array, "time batch obs"]:
    """Return what an agent's memories are given of observations [time, batch, ...]."""
    obs = normalized(agent.normalizer, obs)
    return obs if agent.encoder is None else by_rows(partial(features, agent.encoder), obs)


def bootstrap(
    target: Target, batch: Batch, key: PRNGKeyArray, config: Config
) -> tuple[Array, Float[Array, "batch action"]]:
    """Return the TD targets of the batch, from one value of all or some target critics.

    The last result are the actions μ'(s') that they were asked for. Targets are values, or
    distributions over bins (`agent/heads.py`).

    With a single critic it is the target of Lillicrap et al. 2015, Algorithm 1; the smallest of
    two is Fujimoto et al. 2018, eq. 10; the smallest of a random subset Chen et al. 2021, Alg. 1.
    """
    action_key, subset_key = jax.random.split(key)
    next_obs = features(target.encoder, batch.next_obs)
    next_action = next_actions(target.actor, next_obs, action_key, config.target)
    following = Pairs(target.critics.recalled(next_obs), next_action)
    if config.critic.joined:
        obs = target.critics.recalled(features(target.encoder, batch.obs))
        said = foreseen(target.critics, Pairs(obs, batch.action), following)
    else:
        said = jnp.stack([critic.said(*following) for critic in target.critics.each])
    if config.critic.subset is not None:
        asked = jax.random.permutation(subset_key, config.critic.count)[: config.critic.subset]
        said = said[asked]
    head = HEADS[config.critic.head]
    return head.target(batch.reward, batch.discount, said, config.critic), next_action


def next_actions(
    actor: ActorLike, obs: Observations, key: PRNGKeyArray, settings: options.Target
) -> Float[Array, "batch action"]:
    """Return the target actor's actions, smoothed by noise where that is asked for."""
    if settings.smoothing_std is None:
        return actor(obs)
    if settings.smoothing == "weights":
        assert isinstance(actor, Actor | RecurrentActor)
        return actor.perturbed(key, settings.smoothing_std)(obs)
    action = actor(obs)
    shape = action.shape if settings.smoothing == "action" else (1, action.shape[-1])
    noise = settings.smoothing_std * jax.random.normal(key, shape)
    return smoothed(action, noise, settings.smoothing_clip)


class Improved(NamedTuple):
    """Critics and encoder after a step, and what they made of the batch before it.

    `encoded` is what the encoder did, and `recalled` what the critics' memory made of that.
    """

    critics: Critics
    critics_optimizer: Any
    encoder: Encoder | None
    encoder_optimizer: Any
    encoded: Observations
    recalled: Float[Array, "batch obs"]


def improve_critics(
    agent: Agent,
    batch: Batch,
    target: Array,
    next_action: Float[Array, "batch action"],
    shares: list[Share],
    config: Config,
) -> tuple[Improved, dict[str, Array], Value]:
    """Return the critics one step closer to the targets, each on its share of the batch.

    So is the encoder, which learns from the critics alone (Yarats et al. 2021).
    """
    head = HEADS[config.critic.head]

    def loss(learned: tuple[Critics, Encoder | None]) -> tuple[Array, Any]:
        critics, encoder = learned
        encoded = features(encoder, batch.obs)
        obs = critics.recalled(encoded)
        pairs = Pairs(obs, batch.action)
        following = None
        if config.critic.joined:
            next_obs = jax.lax.stop_gradient(features(encoder, batch.next_obs))
            following = Pairs(critics.recalled(next_obs), next_action)
        found = [
            learned_from(critic, pairs, following, share.rows)
            for critic, share in zip(critics.each, shares, strict=True)
        ]
        said, norms = [own for own, _ in found], [norm for _, norm in found]
        losses = [
            critic_loss(
                own, target[share.rows], share.weight, partial(head.loss, settings=config.critic)
            )
            for own, share in zip(said, shares, strict=True)
        ]
        total = sum(losses, jnp.zeros(()))
        if config.critic.l2 is None:
            return total, (total, said, norms, encoded, obs)
        regularized = total + config.critic.l2 * squared_weights(critics)
        return regularized, (total, said, norms, encoded, obs)

    (_, (total, said, norms, encoded, obs)), (gradient, encoder_gradient) = jax.value_and_grad(
        loss, has_aux=True
    )((agent.critics, agent.encoder))
    values = [head.value(own) for own in said]
    critics, optimizer = optimizer_step(
        agent.critics, gradient, agent.critics_optimizer, config.critic, config.memory.lr
    )
    each = [own.with_statistics(seen) for own, seen in zip(critics.each, norms, strict=True)]
    encoder, encoder_optimizer = agent.encoder, agent.encoder_optimizer
    if encoder is not None:
        encoder, encoder_optimizer = encoder_step(
            encoder, encoder_gradient, encoder_optimizer, config.encoder
        )
    critics = dataclasses.replace(critics, each=tuple(each))
    improved = Improved(critics, optimizer, encoder, encoder_optimizer, encoded, obs)
    metrics = {"critic_loss": total / len(values)}
    for name, value in value_metrics(values, shares).items():
        metrics[name] = in_rewards(agent, value)
    if config.memory.used:
        metrics["transitions"] = jnp.sum(batch.weight > 0).astype(jnp.float32)
    if agent.reward_unit is not None:
        metrics["reward_unit"] = agent.reward_unit
    wanted = head.target_value(target)
    if config.critic.head != "scalar":
        metrics["beyond_bins"] = jnp.mean(jnp.abs(wanted) > NEARLY_BEYOND, dtype=jnp.float32)
    return improved, metrics, td_errors(wanted, values, shares)


def value_metrics(values: list[Value], shares: list[Share]) -> dict[str, Float[Array, ""]]:
    """Return the mean and the largest of all critics' values, each on its share."""
    means = [
        weighted_mean(value, share.weight) for value, share in zip(values, shares, strict=True)
    ]
    largest = [
        jnp.max(jnp.where(share.weight > 0, value, -jnp.inf))
        for value, share in zip(values, shares, strict=True)
    ]
    return {
        "q_mean": sum(means, jnp.zeros(())) / len(means),
        "q_max": jnp.max(jnp.stack(largest)),
    }


def td_errors(target: Value, values: list[Value], shares: list[Share]) -> Value:
    """Return |y - Q(s, a)| of every row, the mean over the critics that have seen it."""
    total, seen = jnp.zeros_like(target), jnp.zeros_like(target)
    for value, share in zip(values, shares, strict=True):
        counts = (share.weight > 0).astype(jnp.float32)
        total = total.at[share.rows].add(counts * jnp.abs(target[share.rows] - value))
        seen = seen.at[share.rows].add(counts)
    return total / jnp.maximum(seen, 1.0)


def improve_actor(
    agent: Agent, improved: Improved, batch: Batch, rows: slice, config: Config
) -> tuple[ActorLike, Any, Float[Array, ""]]:
    """Return the actor one step further up Q(s, μ(s)); the last result is -mean Q(s, μ(s)).

    By default the first critic alone is climbed, as in Fujimoto et al. 2018, Algorithm 1. The
    actor sees `rows` of the batch: of one that was drawn larger, for several critics, those of the
    first. What an encoder has made of them is constant to it.
    """
    obs, recalled = chosen(improved.encoded, rows), improved.recalled[rows]
    critics = improved.critics
    weight = (batch.weight[rows] > 0).astype(jnp.float32)
    climbed = Critics(critics.each[:1] if config.actor.climbs == "first" else critics.each)

    def loss(actor: ActorLike) -> tuple[Array, tuple[Array, Norms]]:
        preactivation, norms = actor.learning(obs)
        values = climbed(recalled, jnp.tanh(preactivation))
        ascent = actor_loss(COMBINED[config.actor.climbs](values), weight)
        penalty = preactivation_penalty(preactivation, weight)
        return ascent + config.actor.preactivation_penalty * penalty, (ascent, norms)

    (_, (ascent, norms)), gradient = jax.value_and_grad(loss, has_aux=True)(agent.actor)
    actor, optimizer = optimizer_step(
        agent.actor, gradient, agent.actor_optimizer, config.actor, config.memory.lr
    )
    return actor.with_statistics(norms), optimizer, ascent


def follow(target: Target, online: Target, number: Int[Array, ""], config: Config) -> Target:
    """Return the targets after a soft update, which is due every `target.interval` updates."""
    return on_turn(
        number,
        config.target.interval,
        lambda: soft_update(target, online, config.target.tau),
        lambda: target,
    )


def on_turn(
    number: Int[Array, ""], interval: int, due: Callable[[], Any], otherwise: Callable[[], Any]
) -> Any:
    """Return what is due at every `interval`-th update, or else the other."""
    if interval == 1:
        return due()
    return jax.lax.cond(number % interval == 0, due, otherwise)
