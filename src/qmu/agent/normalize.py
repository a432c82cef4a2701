"""What is done with observations before the networks see them."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from qmu.config import Config


class Normalizer(eqx.Module):
    """Mean and deviation of every observation that was stored, and where normalized ones end.

    A policy that was trained with it needs it for ever after.
    """

    mean: Float[Array, " obs"]
    std: Float[Array, " obs"]
    clip: Float[Array, ""]

    def __call__(self, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch obs"]:
        """Return observations with mean 0 and variance 1, cut to ±clip."""
        before = tuple(range(obs.ndim - 1))
        mean, std = (jnp.expand_dims(own, before) for own in (self.mean, self.std))
        return jnp.clip((obs - mean) / std, -self.clip, self.clip)


def init_normalizer(obs_size: int, config: Config) -> Normalizer | None:
    """Return a normalizer that has seen nothing and only cuts; None where it is off."""
    if not config.env.normalize_obs:
        return None
    clip = jnp.asarray(config.env.obs_clip, jnp.float32)
    return Normalizer(jnp.zeros(obs_size), jnp.ones(obs_size), clip)
