"""The equations of DDPG as functions of arrays.

Sources: Lillicrap et al. 2015, "Continuous control with deep reinforcement learning"
(arXiv:1509.02971), Algorithm 1; Silver et al. 2014, "Deterministic policy gradient algorithms".
"""

from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Tree = TypeVar("Tree")


def td_target(
    reward: Float[Array, " batch"],
    discount: Float[Array, " batch"],
    next_value: Float[Array, " batch"],
) -> Float[Array, " batch"]:
    """Return y = r + d · Q'(s', μ'(s')), with d = γ, or 0 after a termination.

    Lillicrap et al. 2015, Algorithm 1. A truncated episode keeps d = γ: it bootstraps.
    """
    return jax.lax.stop_gradient(reward + discount * next_value)


def smoothed(
    action: Float[Array, "batch action"],
    noise: Float[Array, "#batch action"],
    clip: float | Float[Array, ""] | None,
) -> Float[Array, "batch action"]:
    """Return the actions with noise, which is cut to ±clip, inside [-1, 1].

    Fujimoto et al. 2018, eq. 14: similar actions should have similar values.
    """
    if clip is not None:
        noise = jnp.clip(noise, -clip, clip)
    return jnp.clip(action + noise, -1.0, 1.0)


def critic_loss(
    value: Float[Array, " batch"],
    target: Float[Array, " batch"],
    weight: Float[Array, " batch"],
) -> Float[Array, ""]:
    """Return the mean of w (y - Q(s, a))² over the batch (Lillicrap et al. 2015, Alg. 1).

    A slot of weight 0 is no transition. The other weights are 1, or those of prioritized replay
    (Schaul et al. 2016, Algorithm 1, line 13).
    """
    return weighted_mean(jnp.square(target - value), weight)


def actor_loss(value: Float[Array, " batch"], weight: Float[Array, " batch"]) -> Float[Array, ""]:
    """Return -mean Q(s, μ(s)), whose gradient is the deterministic policy gradient.

    Silver et al. 2014, eq. 9; Lillicrap et al. 2015, eq. 6.
    """
    return -weighted_mean(value, weight)


def preactivation_penalty(
    preactivation: Float[Array, "batch action"], weight: Float[Array, " batch"]
) -> Float[Array, ""]:
    """Return the mean square of the inputs of the actor's final tanh.

    Beyond about ±2 the tanh is flat, and the policy gradient cannot bring an action back from
    there. Andrychowicz et al. 2017, appendix A.
    """
    return weighted_mean(jnp.mean(jnp.square(preactivation), axis=-1), weight)


def weighted_mean(
    value: Float[Array, " batch"], weight: Float[Array, " batch"]
) -> Float[Array, ""]:
    """Return the mean of w·v over the slots whose weight is not 0, or 0 where there is none."""
    return jnp.sum(weight * value) / jnp.maximum(jnp.sum(weight > 0), 1).astype(jnp.float32)


def soft_update(target: Tree, online: Tree, tau: float | Float[Array, ""]) -> Tree:
    """Return θ' = (1 - τ) θ' + τ θ, leaf by leaf (Lillicrap et al. 2015, Algorithm 1)."""
    return jax.tree.map(lambda slow, fast: slow + tau * (fast - slow), target, online)
