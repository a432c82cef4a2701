"""From a gradient to new weights."""

from typing import Any

import jax
import optax
from jaxtyping import Array, Float

from qmu import config
from qmu.agent.memory import Memory
from qmu.agent.networks import Body, with_unit_weights


def adam(options: config.Network) -> optax.GradientTransformation:
    """Kingma and Ba 2015, Algorithm 1; with `weight_decay` Loshchilov and Hutter 2019, Alg. 2."""
    del options
    return optax.scale_by_adam()


def sgd(options: config.Network) -> optax.GradientTransformation:
    """The gradient itself, or v ← momentum · v + gradient (Sutskever et al. 2013, eq. 1)."""
    return optax.identity() if options.momentum is None else optax.trace(options.momentum)


DIRECTIONS = {"adam": adam, "adamw": adam, "sgd": sgd}


def transformation(options: config.Network) -> optax.GradientTransformation:
    """Return what makes a step of a gradient, up to the learning rate.

    The gradient is shortened to `clip_norm` first (Pascanu et al. 2013, Algorithm 1). Decay is
    decoupled: it does not pass through the optimizer, and it spares biases and normalizations.
    """
    parts = [DIRECTIONS[options.optimizer](options)]
    if options.clip_norm is not None:
        parts = [optax.clip_by_global_norm(options.clip_norm), *parts]
    if options.weight_decay is not None:
        parts = [*parts, optax.add_decayed_weights(options.weight_decay, mask=is_matrix)]
    return optax.chain(*parts)


def is_matrix(parameters: Any) -> Any:
    """Tell, leaf by leaf, which parameters are weight matrices."""
    return jax.tree.map(lambda leaf: leaf.ndim == 2, parameters)


def squared_weights(parameters: Any) -> Float[Array, ""]:
    """Return half the sum of all squared weights, without biases and normalizations."""
    leaves = [leaf for leaf in jax.tree.leaves(parameters) if leaf.ndim == 2]
    return 0.5 * sum((leaf**2).sum() for leaf in leaves)


def init_optimizer(parameters: Any, options: config.Network) -> Any:
    """Return the optimizer's state before the first step."""
    with jax.numpy_dtype_promotion("standard"):
        return transformation(options).init(parameters)


def optimizer_step(
    parameters: Any, gradient: Any, state: Any, options: config.Network, memory_lr: Any = None
) -> tuple[Any, Any]:
    """Return the parameters and the optimizer's state after one step down the gradient.

    A memory among them has a learning rate of its own, `memory_lr` (Luo et al. 2024). With
    `weight_norm`, the step ends on the sphere.
    """
    # Optax mixes dtypes, which strict promotion refuses.
    with jax.numpy_dtype_promotion("standard"):
        step, state = transformation(options).update(gradient, state, parameters)

    def stepped(old: Any, change: Any) -> Any:
        lr = memory_lr if isinstance(old, Memory) else options.lr
        return jax.tree.map(lambda one, own: one - lr * own, old, change)

    changed = jax.tree.map(stepped, parameters, step, is_leaf=lambda node: isinstance(node, Memory))
    if options.weight_norm:
        changed = jax.tree.map(with_lengths, changed, is_leaf=lambda node: isinstance(node, Body))
    return changed, state


def with_lengths(part: Any) -> Any:
    """Return a body with incoming weights of length 1, and other parts as they are."""
    return with_unit_weights(part) if isinstance(part, Body) else part
