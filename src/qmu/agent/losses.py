"""The equations of DDPG as functions of arrays.

Sources: Lillicrap et al. 2015, "Continuous control with deep reinforcement learning"
(arXiv:1509.02971), Algorithm 1; Silver et al. 2014, "Deterministic policy gradient algorithms".
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.scipy.special import erf
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


def squared_error(
    value: Float[Array, " batch"], target: Float[Array, " batch"]
) -> Float[Array, " batch"]:
    """Return (y - Q(s, a))² of each row."""
    return jnp.square(target - value)


def critic_loss(
    said: Array,
    target: Array,
    weight: Float[Array, " batch"],
    loss: Callable[[Array, Array], Float[Array, " batch"]] = squared_error,
) -> Float[Array, ""]:
    """Return the mean of w times a row's loss: (y - Q(s, a))² (Lillicrap et al. 2015, Alg. 1).

    A slot of weight 0 is no transition. The other weights are 1, or those of priorities by the
    TD error
    (Schaul et al. 2016, Algorithm 1, line 13).
    """
    return weighted_mean(loss(said, target), weight)


def huber_error(
    value: Float[Array, " batch"], target: Float[Array, " batch"]
) -> Float[Array, " batch"]:
    """Return δ² of each row with |δ| = |y - Q(s, a)| up to 1, and 2|δ| - 1 of the others.

    Twice Huber 1964, eq. 1.4, so that small errors weigh what they do in the square.
    """
    size = jnp.abs(target - value)
    return jnp.where(size < 1.0, jnp.square(size), 2.0 * size - 1.0)


def cross_entropy(
    logits: Float[Array, "batch bins"], target: Float[Array, "batch bins"]
) -> Float[Array, " batch"]:
    """Return -Σ p log q of each row, with q the softmax of what is said."""
    return -jnp.sum(target * jax.nn.log_softmax(logits), axis=-1)


def projected(
    chance: Float[Array, "batch bins"], places: Float[Array, "batch bins"], support: float
) -> Float[Array, "batch bins"]:
    """Return a distribution over other places as one over bins at equal distances in ±support.

    What lies between two bins is divided among them, so that its mean stays; what lies beyond the
    ends goes there. Bellemare, Dabney and Munos 2017, eq. 7.
    """
    rows, bins = chance.shape
    width = 2.0 * support / (bins - 1)
    position = (jnp.clip(places, -support, support) + support) / width
    below = jnp.clip(jnp.floor(position), 0, bins - 2)
    above = position - below
    row, bin_below = jnp.arange(rows)[:, None], below.astype(jnp.int32)
    found = jnp.zeros_like(chance).at[row, bin_below].add(chance * (1.0 - above))
    return found.at[row, bin_below + 1].add(chance * above)


def smeared(
    value: Float[Array, " batch"],
    bins: int,
    support: float,
    spread: float | Float[Array, ""],
) -> Float[Array, "batch bins"]:
    """Return normal distributions around values as ones over bins at equal distances in ±support.

    The standard deviation is `spread` widths of a bin. What lies beyond the outermost bins' edges
    is left out, and the rest is divided by its sum. Imani and White 2018, section 3.1.
    """
    width = 2.0 * support / (bins - 1)
    edges = jnp.linspace(-support - width / 2, support + width / 2, bins + 1)
    middle = jnp.clip(value, -support, support)
    below = erf((edges[None] - middle[:, None]) / (spread * width * 2.0**0.5))
    return (below[:, 1:] - below[:, :-1]) / (below[:, -1:] - below[:, :1])


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
