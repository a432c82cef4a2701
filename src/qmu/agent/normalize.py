"""Running statistics of observations, and what is done with them."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from qmu.config import Config

# Added to a variance before the root is taken of it.
EPSILON = 1e-8


class Normalizer(eqx.Module):
    """Mean and variance of every observation that was stored, and where normalized ones end.

    A policy that was trained with it needs it for ever after.
    """

    count: Float[Array, ""]
    mean: Float[Array, " obs"]
    variance: Float[Array, " obs"]
    clip: Float[Array, ""]

    def __call__(self, obs: Float[Array, "batch obs"]) -> Float[Array, "batch obs"]:
        """Return observations with mean 0 and variance 1, cut to ±clip."""
        scaled = (obs - self.mean[None]) / jnp.sqrt(self.variance + EPSILON)[None]
        return jnp.clip(scaled, -self.clip, self.clip)


def init_normalizer(obs_size: int, config: Config) -> Normalizer | None:
    """Return a normalizer that has seen nothing and only cuts; None where it is off."""
    if not config.env.normalize_obs:
        return None
    clip = jnp.asarray(config.env.obs_clip, jnp.float32)
    return Normalizer(jnp.zeros(()), jnp.zeros(obs_size), jnp.ones(obs_size), clip)


def observed(
    normalizer: Normalizer, obs: Float[Array, "rows obs"], counts: Bool[Array, " rows"]
) -> Normalizer:
    """Return the normalizer after some more observations, those rows that count.

    Chan, Golub and LeVeque 1979, eq. 2.1, for the union of two sets.
    """
    weight = counts.astype(jnp.float32)
    new = jnp.sum(weight)
    total = normalizer.count + new
    share = new / jnp.maximum(total, 1.0)
    some = jnp.maximum(new, 1.0)
    mean = jnp.sum(weight[:, None] * obs, axis=0) / some
    variance = jnp.sum(weight[:, None] * jnp.square(obs - mean[None]), axis=0) / some
    apart = mean - normalizer.mean
    spread = (1.0 - share) * normalizer.variance + share * variance
    return Normalizer(
        count=total,
        mean=normalizer.mean + share * apart,
        variance=spread + share * (1.0 - share) * jnp.square(apart),
        clip=normalizer.clip,
    )
