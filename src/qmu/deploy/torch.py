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
from numpy.typing import ArrayLike, NDArray
from torch import nn

from qmu.deploy.description import network_of, read_policy, unreadable
from qmu.deploy.layers import NORM_EPSILON, SLOPE, Floats, Layer
from qmu.deploy.memory import RecurrentCell
from qmu.deploy.parts import batch_of, observed
from qmu.deploy.past import Carries, State, after, check_state, held, with_reward
from qmu.deploy.pixels import PIXEL_OFFSET, PIXEL_SCALE, PixelEncoder
from qmu.deploy.policy import Network, Normalization, Observation, Policy
from qmu.deploy.seal import check_seal, read_json, sealed_zip
from qmu.deploy.told import told
from qmu.layout import NUMBER
from qmu.parts import AXES

DESCRIPTION = "description"
ACTIVATIONS: dict[str, Any] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(SLOPE),
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


class TorchPolicy(Carries, nn.Module):
    """A policy with its weights as parameters: observations to actions in the environment's units.

    It is called as a `Policy` is, and then gives arrays. A tensor gives a tensor, with gradients.
    With a past, `step` takes and gives tensors for a tensor, too.
    """

    def __init__(self, policy: Policy) -> None:
        """Take the weights, and all that belongs to them, from a policy."""
        super().__init__()
        self.obs_shape, self.action_shape = policy.obs_shape, policy.action_shape
        self.info, self.parts = policy.info, policy.parts
        self.encoders = nn.ModuleList(map(Encode, network_of(policy).encoders))
        normalization = network_of(policy).normalization
        self.normalize = None if normalization is None else Normalize(normalization)
        self.layers = nn.Sequential(*layers_of(policy))
        self.dtype, self.layout, self.past = policy.dtype, policy.layout, policy.past
        memory = network_of(policy).memory
        self.memory = None if memory is None else Recur(memory)
        self.carried: list[State] = []
        centre = None if policy.centre is None else torch.tensor(policy.centre)
        self.register_buffer("centre", centre)
        self.register_buffer("low", torch.tensor(policy.low))
        self.register_buffer("high", torch.tensor(policy.high))

    def forward(
        self, observation: Observation | torch.Tensor, reward: ArrayLike | None = None
    ) -> Floats | torch.Tensor:
        """Return the action for one observation, or one per row for a batch of observations.

        Args:
            observation: what a `Policy` takes, or a tensor of the environment's observation
                shape, or with one more leading axis, in the environment's units.
            reward: what the step before has brought, for a policy whose memory is fed it.

        Returns:
            Actions in the environment's units, inside its bounds: of a tensor a tensor on the same
            device, of anything else a float32 array.

        Raises:
            ValueError: the observation has another shape, or images of another dtype than uint8; or
                it is a batch or a tensor, and the policy has a past: `step` takes those.
        """
        if isinstance(observation, torch.Tensor):
            batch = batch_of(observation.shape, self.obs_shape)
            if self.has_past:
                self.refuse_tensor()
            return self.act(self.as_rows(observation, batch), batch)
        obs, batch = observed(self.parts, self.obs_shape, observation, self.dtype)
        if self.has_past:
            return self.act_on_own(obs, batch, reward)
        return self.act_on_array(obs, batch)

    def batch(self, observations: Observation) -> Floats:
        """Return the actions [batch, ...] for a batch of observations, also for one of one.

        Raises:
            ValueError: they are no batch, have another shape, or the policy has a past.
        """
        obs = self.whole_batch(observations)
        return self.act_on_array(obs, obs.shape[:1])

    def step(
        self, observation: Any, state: Any, reward: ArrayLike | None = None
    ) -> tuple[Any, Any]:
        """Return the action for one observation, or one per row of a batch, and the next state.

        As that of a `Policy`; of a tensor they are tensors. The state may be of arrays, as
        `initial_state` makes it, or of tensors.

        Raises:
            ValueError: as for a `Policy`, or images are tensors of another dtype than uint8.
        """
        held = tuple(map(as_array, state)) if isinstance(state, tuple) else state
        if not isinstance(observation, torch.Tensor):
            return super().step(observation, held, reward)
        batch = batch_of(observation.shape, self.obs_shape)
        observation = self.as_rows(observation, batch)
        rows = observation if batch else observation[None]
        check_state(self.past, held, len(rows))
        before = with_reward(self.past, state, as_array(reward))
        action, state = self.act_after(rows, tuple(map(self.as_tensor, before)))
        return (action if batch else action[0]), state

    def executed(self, action: Any, state: Any = None) -> Any:
        """Return the state after another action was executed, as that of a `Policy`; of arrays."""
        held = tuple(map(as_array, state)) if isinstance(state, tuple) else state
        return super().executed(as_array(action), held)

    def bounds(self) -> tuple[Floats, Floats]:
        """Return between which numbers each one of an action lies."""
        return self.low.cpu().numpy(), self.high.cpu().numpy()

    def as_rows(self, obs: torch.Tensor, batch: Any) -> torch.Tensor:
        """Return observations [*batch, ...] with the pixels of an image alone as in a row.

        Raises:
            ValueError: they hold images, and are not of uint8.
        """
        if self.layout.images and obs.dtype != torch.uint8:
            raise ValueError(
                f"observations with images as a tensor of {obs.dtype}; it has to be of "
                "torch.uint8, from 0 to 255"
            )
        if not (self.parts and self.parts[0].path == ()):
            return obs
        (part,), ahead = self.parts, len(batch)
        axes = (*range(ahead), *(ahead + axis for axis in AXES[part.image]))
        return obs.permute(axes).reshape(*batch, self.layout.size)

    def advance(self, obs: NDArray[Any], state: State) -> tuple[Floats, State]:
        """Return actions [batch, ...] for observations [batch, *obs_shape], and the next state."""
        with torch.no_grad():
            action, after = self.act_after(self.tensor(obs), tuple(map(self.tensor, state)))
        return action.cpu().numpy(), tuple(part.cpu().numpy() for part in after)

    def refuse_tensor(self) -> None:
        """Raise ValueError: the past of a policy that is called is one of arrays."""
        raise ValueError(
            "a tensor, to which this policy needs to know what was before: state = "
            "policy.initial_state(batch), then action, state = policy.step(tensor, state)"
        )

    def as_tensor(self, part: Any) -> Any:
        """Return an array of a state as a tensor where the policy is; other things as they are."""
        return self.tensor(part) if isinstance(part, np.ndarray) else part

    def tensor(self, array: NDArray[Any]) -> torch.Tensor:
        """Return a copy of an array where the policy is."""
        return torch.from_numpy(np.array(array)).to(self.low.device)

    def act_on_array(self, obs: NDArray[Any], batch: tuple[int, ...]) -> Floats:
        """Return the actions of an array of observations, as an array."""
        with torch.no_grad():
            action = self.act(self.tensor(obs), batch)
        return np.asarray(action.cpu().numpy())

    def act(self, obs: torch.Tensor, batch: Any) -> torch.Tensor:
        """Return the actions of observations [*batch, ...], for a policy without a past."""
        rows = self.flat(obs, batch)
        seen, _ = self.see(rows if batch else rows[None], ())
        action = self.layers(seen)
        return self.scaled(action if batch else action[0], batch)

    def act_after(
        self, obs: torch.Tensor, state: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Return the actions of a batch of observations and what was before them, and the state."""
        batch = obs.shape[:1]
        seen, state = self.see(self.flat(obs, batch), state)
        action = self.layers(seen)
        return self.scaled(action, batch), after(self.past, state, action=action)

    def see(
        self, flat: torch.Tensor, state: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Return what layers are given of rows [batch, size] and those before, and the state."""
        frames = flat[:, None]
        if self.past.frames:
            before, begun, *rest = state
            older = torch.where(begun[:, None, None], before, frames)
            frames = torch.cat([older, frames], dim=1)
            state = frames[:, 1:], torch.ones_like(begun), *rest
        found = self.encoded(frames)
        if self.memory is None:
            return found, state
        hidden = self.memory(found, held(self.past, state))
        return torch.cat([found, hidden], dim=1), after(self.past, state, hidden=hidden)

    def encoded(self, frames: torch.Tensor) -> torch.Tensor:
        """Return numbers, normalized, and features of images of rows [batch, frames, size]."""
        if not self.encoders:
            return self.normalized(frames.flatten(1))
        numbers = frames[:, :, : NUMBER * self.layout.numbers].contiguous().view(torch.float32)
        features = [
            encode(frames[:, :, place].unflatten(2, image).movedim(1, 3).flatten(3))
            for encode, place, image in zip(
                self.encoders, self.layout.places, self.layout.images, strict=True
            )
        ]
        return torch.cat([self.normalized(numbers.flatten(1)), *features], dim=1)

    def normalized(self, numbers: torch.Tensor) -> torch.Tensor:
        """Return numbers [batch, numbers] as layers are given them."""
        normal: torch.Tensor = numbers if self.normalize is None else self.normalize(numbers)
        return normal

    def flat(self, obs: torch.Tensor, batch: Any) -> torch.Tensor:
        """Return observations [*batch, *obs_shape] as rows [*batch, size]."""
        flat = obs.reshape(*batch, self.layout.size)
        if self.layout.images:
            return flat
        flat = flat if self.centre is None else flat - self.centre
        return flat.to(self.low.dtype)

    def scaled(self, action: torch.Tensor, batch: Any) -> torch.Tensor:
        """Return actions [*batch, action] in [-1, 1] in the environment's units and shape."""
        scaled = 0.5 * (1 - action) * self.low + 0.5 * (1 + action) * self.high
        inside = torch.minimum(torch.maximum(scaled, self.low), self.high)
        return inside.reshape((*batch, *self.action_shape))

    def __repr__(self) -> str:
        return told(self)


def as_array(part: Any) -> Any:
    """Return a tensor of a state as an array; other things as they are."""
    return part.detach().cpu().numpy() if isinstance(part, torch.Tensor) else part


class Recur(nn.Module):
    """One step of a memory, whose weights are those of PyTorch's own layers."""

    def __init__(self, cell: RecurrentCell) -> None:
        """Take the weights."""
        super().__init__()
        self.fed = cell.fed
        inputs = nn.Linear(*cell.input_weight.shape)
        self.inputs = with_values(inputs, cell.input_weight.T, cell.input_bias)
        self.recurrent = None
        if cell.recurrent_weight is not None and cell.recurrent_bias is not None:
            recurrent = nn.Linear(*cell.recurrent_weight.shape)
            own = with_values(recurrent, cell.recurrent_weight.T, cell.recurrent_bias)
            self.recurrent = own

    def forward(self, seen: torch.Tensor, before: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the state [batch, size] after what is seen [batch, numbers]."""
        given = {"observation": seen, "action": before.get("action")}
        if "reward" in before:
            given["reward"] = before["reward"][:, None]
        gates = self.inputs(torch.cat([given[name] for name in self.fed], dim=1))
        state = before["hidden"]
        size = state.shape[1]
        if self.recurrent is None:
            taken = torch.sigmoid(gates[:, :size])
            return (1 - taken) * state + taken * torch.tanh(gates[:, size:])
        own = self.recurrent(state)
        gate = torch.sigmoid(gates[:, : 2 * size] + own[:, : 2 * size])
        new = torch.tanh(gates[:, 2 * size :] + gate[:, :size] * own[:, 2 * size :])
        return new + gate[:, size:] * (state - new)


class Encode(nn.Module):
    """An image's encoder: convolutions with ReLU, a layer, its normalization, a tanh."""

    def __init__(self, encoder: PixelEncoder) -> None:
        """Take the weights; PyTorch convolves with the channels first."""
        super().__init__()
        layers: list[nn.Module] = []
        kernels = zip(encoder.weights, encoder.biases, encoder.strides, strict=True)
        for weight, bias, stride in kernels:
            inputs, outputs = weight.shape[2:]
            convolution = nn.Conv2d(inputs, outputs, weight.shape[0], stride)
            layers += [with_values(convolution, weight.transpose(3, 2, 0, 1), bias), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers)
        trunk = nn.Linear(*encoder.trunk_weight.shape)
        self.trunk = with_values(trunk, encoder.trunk_weight.T, encoder.trunk_bias)
        norm = nn.LayerNorm(len(encoder.scale), eps=NORM_EPSILON)
        self.norm = with_values(norm, encoder.scale, encoder.offset)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features of images [batch, height, width, channels] of uint8."""
        pixels = images.to(torch.float32) * float(PIXEL_SCALE) + float(PIXEL_OFFSET)
        units = self.convolutions(pixels.movedim(3, 1)).movedim(1, 3)
        return torch.tanh(self.norm(self.trunk(units.flatten(1))))


class Normalize(nn.Module):
    """Observations to mean 0 and deviation 1, cut to ±clip."""

    def __init__(self, normalization: Normalization) -> None:
        """Take the statistics of observations."""
        super().__init__()
        for name, array in vars(normalization).items():
            self.register_buffer(name, torch.tensor(array))

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        """Return the normalized observations [..., obs]."""
        scaled = (obs - self.mean) / self.std
        return torch.minimum(torch.maximum(scaled, -self.clip), self.clip)


def layers_of(policy: Policy) -> list[nn.Module]:
    """Return the modules that lead from an observation to an action in [-1, 1]."""
    network = network_of(policy)
    layers = [linear(one) for one in zip(network.weights, network.biases, strict=True)]
    norms = [
        with_values(nn.LayerNorm(len(scale), eps=NORM_EPSILON), scale, offset)
        for scale, offset in zip(network.scales, network.offsets, strict=True)
    ]
    through = plain if network.projections is None else residual
    return [*through(network, layers[:-1], norms), layers[-1], nn.Tanh()]


def plain(network: Network, layers: list[nn.Module], norms: list[nn.Module]) -> list[nn.Module]:
    """Return hidden layers one after another."""
    modules: list[nn.Module] = []
    for depth, layer in enumerate(layers):
        modules += [layer, *norms[depth : depth + 1], ACTIVATIONS[network.activation]()]
    return modules


def residual(network: Network, layers: list[nn.Module], norms: list[nn.Module]) -> list[nn.Module]:
    """Return residual blocks, their projections before them, and the last normalization."""
    modules: list[nn.Module] = []
    for depth, projection in enumerate(network.projections or ()):
        if projection is not None:
            modules.append(linear(projection))
        wide, narrow = layers[2 * depth : 2 * depth + 2]
        activate = ACTIVATIONS[network.activation]()
        modules.append(Around(*norms[depth : depth + 1], wide, activate, narrow))
    return [*modules, *norms[len(network.projections or ()) :]]


class Around(nn.Sequential):
    """A residual block: what its modules make of an input is added to that."""

    def forward(self, stream: torch.Tensor) -> torch.Tensor:
        """Return what goes into the next block [..., units]."""
        added: torch.Tensor = super().forward(stream)
        return stream + added


def linear(layer: Layer) -> nn.Module:
    """Return a layer as a module."""
    weight, bias = layer
    return with_values(nn.Linear(*weight.shape), weight.T, bias)


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
