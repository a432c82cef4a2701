"""A policy as a PyTorch module, and its file: the arrays as tensors, the description as JSON text.

The file is read with `weights_only=True`, which makes tensors and text of it and nothing else.
"""

import io
import json
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from qmu.deploy.description import network_of, read_policy, unreadable
from qmu.deploy.parts import batch_of, observed, observed_batch
from qmu.deploy.policy import (
    NORM_EPSILON,
    SLOPE,
    Floats,
    Normalization,
    Observation,
    Policy,
)
from qmu.deploy.seal import check_seal, read_json, sealed_zip
from qmu.deploy.told import told

DESCRIPTION = "description"
ACTIVATIONS: dict[str, Any] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(SLOPE),
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


class TorchPolicy(nn.Module):
    """A policy with its weights as parameters: observations to actions in the environment's units.

    It is called as a `Policy` is, and then gives arrays. A tensor gives a tensor, with gradients.
    """

    def __init__(self, policy: Policy) -> None:
        """Take the weights, and all that belongs to them, from a policy."""
        super().__init__()
        self.obs_shape, self.action_shape = policy.obs_shape, policy.action_shape
        self.info, self.parts = policy.info, policy.parts
        self.layers = nn.Sequential(*layers_of(policy))
        self.dtype = policy.dtype
        centre = None if policy.centre is None else torch.tensor(policy.centre)
        self.register_buffer("centre", centre)
        self.register_buffer("low", torch.tensor(policy.low))
        self.register_buffer("high", torch.tensor(policy.high))

    def forward(self, observation: Observation | torch.Tensor) -> Floats | torch.Tensor:
        """Return the action for one observation, or one per row for a batch of observations.

        Args:
            observation: what a `Policy` takes, or a tensor of the environment's observation
                shape, or with one more leading axis, in the environment's units.

        Returns:
            Actions in the environment's units, inside its bounds: of a tensor a tensor on the same
            device, of anything else a float32 array.

        Raises:
            ValueError: the observation has another shape.
        """
        if isinstance(observation, torch.Tensor):
            return self.act(observation)
        return self.act_on_array(observed(self.parts, self.obs_shape, observation, self.dtype)[0])

    def batch(self, observations: Observation) -> Floats:
        """Return the actions [batch, ...] for a batch of observations, also for one of one.

        Raises:
            ValueError: they are no batch, or have another shape.
        """
        return self.act_on_array(
            observed_batch(self.parts, self.obs_shape, observations, self.dtype)
        )

    def act_on_array(self, obs: NDArray[Any]) -> Floats:
        """Return the actions of an array of observations, as an array."""
        with torch.no_grad():
            action = self.act(torch.from_numpy(np.array(obs)).to(self.low.device))
        return np.asarray(action.cpu().numpy())

    def act(self, obs: torch.Tensor) -> torch.Tensor:
        """Return the actions of a tensor of observations."""
        batch = batch_of(obs.shape, self.obs_shape)
        flat = obs.reshape(*batch, self.layers[0].in_features)
        flat = flat if self.centre is None else flat - self.centre
        flat = flat.to(self.low.dtype)
        action = self.layers(flat)
        scaled = 0.5 * (1 - action) * self.low + 0.5 * (1 + action) * self.high
        inside = torch.minimum(torch.maximum(scaled, self.low), self.high)
        return inside.reshape((*batch, *self.action_shape))

    def __repr__(self) -> str:
        return told(self)


class Normalize(nn.Module):
    """Observations to mean 0 and deviation 1, cut to ±clip."""

    def __init__(self, normalization: Normalization) -> None:
        """Take the statistics of observations."""
        super().__init__()
        for name, array in vars(normalization).items():
            self.register_buffer(name, torch.tensor(array))
        self.in_features = len(normalization.mean)

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        """Return the normalized observations [..., obs]."""
        scaled = (obs - self.mean) / self.std
        return torch.minimum(torch.maximum(scaled, -self.clip), self.clip)


def layers_of(policy: Policy) -> list[nn.Module]:
    """Return the modules that lead from an observation to an action in [-1, 1]."""
    network = network_of(policy)
    modules: list[nn.Module] = []
    if network.normalization is not None:
        modules.append(Normalize(network.normalization))
    for depth, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        modules.append(with_values(nn.Linear(*weight.shape), weight.T, bias))
        if depth == len(network.weights) - 1:
            break
        if network.scales:
            norm = nn.LayerNorm(weight.shape[1], eps=NORM_EPSILON)
            modules.append(with_values(norm, network.scales[depth], network.offsets[depth]))
        modules.append(ACTIVATIONS[network.activation]())
    return [*modules, nn.Tanh()]


def with_values(module: Any, weight: Floats, bias: Floats) -> nn.Module:
    """Return a module that has been given its weight and bias."""
    with torch.no_grad():
        module.weight.copy_(torch.tensor(weight))
        module.bias.copy_(torch.tensor(bias))
    return module


def pack(policy: Policy) -> bytes:
    """Return a policy as the bytes of a .pt file."""
    tensors = {name: torch.tensor(array) for name, array in policy.arrays().items()}
    return with_sum({DESCRIPTION: json.dumps(policy.description()), **tensors})


def with_sum(held: Any) -> bytes:
    """Return the bytes of a .pt file that holds this, and ends in their sum."""
    file = io.BytesIO()
    torch.save(held, file)
    return sealed_zip(file.getvalue())


def read(data: bytes, source: Path) -> TorchPolicy:
    """Return the policy in the bytes of a .pt file; `source` is named where there is none.

    Raises:
        ConfigError: they are damaged, or of something else.
    """
    # What qmu has not written raises whatever its reader stumbles over.
    try:
        check_seal(data)
        held = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        description = read_json(held.pop(DESCRIPTION))
        arrays = {name: tensor.numpy() for name, tensor in held.items()}
    except UnpicklingError:
        # PyTorch's own words advise to let the file run what it likes.
        why = ValueError("it holds more than tensors and text, and nothing of it was run")
        raise unreadable(source, why) from None
    except Exception as error:
        raise unreadable(source, error) from None
    return TorchPolicy(read_policy(arrays, description, source))
