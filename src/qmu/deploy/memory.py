"""A memory outside of training, in NumPy: one step of an episode at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from qmu.deploy.layers import Floats, all_finite

HALF = np.float32(0.5)
# What a memory can be given of a step, in the order in which it is.
FED = ("observation", "action", "reward")


class Remembers(NamedTuple):
    """What a memory carries from step to step: its state, and what it is fed of the last step."""

    size: int  # numbers of its state
    action: int = 0  # numbers of the last action that it is fed; 0: none
    reward: bool = False  # whether it is fed the last reward


@dataclass(frozen=True)
class RecurrentCell:
    """One step of a memory, for a batch.

    Attributes:
        fed: what it is given, of observation, action and reward, in this order.
        input_weight: [inputs, 3 * size] of a GRU, columns of r, z and n; [inputs, 2 * size] of a
            minGRU, columns of z and n.
        input_bias: [3 * size] or [2 * size].
        recurrent_weight: [size, 3 * size] of a GRU; None of a minGRU.
        recurrent_bias: [3 * size] of a GRU; None of a minGRU.
    """

    fed: tuple[str, ...]
    input_weight: Floats
    input_bias: Floats
    recurrent_weight: Floats | None = None
    recurrent_bias: Floats | None = None

    @property
    def size(self) -> int:
        """Numbers of a state."""
        return len(self.input_bias) // (2 if self.recurrent_weight is None else 3)

    @cached_property
    def packed(self) -> tuple[Floats, Floats]:
        """One product and one sum for all gates: weights [inputs + size, gates], and biases.

        σ(x) is (1 + tanh(x/2)) / 2, so what goes into it is halved here, which is exact. Columns of
        a GRU are r, z, the sum that n is without the reset gate's tanh, and what that multiplies.
        """
        size, half = self.size, HALF
        if self.recurrent_weight is None or self.recurrent_bias is None:
            scale = np.repeat(np.array([0.5, 1], np.float32), size)
            return self.input_weight * scale, self.input_bias * scale
        gates = slice(2 * size), slice(2 * size, 3 * size)
        both = np.concatenate([self.input_weight, self.recurrent_weight])
        held = np.concatenate([np.zeros_like(self.input_weight), self.recurrent_weight])[
            :, gates[1]
        ]
        new = both[:, gates[1]] - half * held
        weight = np.concatenate([half * both[:, gates[0]], new, half * held], axis=1)
        bias, own = self.input_bias, self.recurrent_bias
        sums = half * (bias + own)[gates[0]], bias[gates[1]] + half * own[gates[1]]
        return weight, np.concatenate([*sums, half * own[gates[1]]])

    def __call__(self, fed: Sequence[Floats], state: Floats) -> Floats:
        """Return the state [batch, size] after what is fed, each [batch, ...], to one before."""
        weight, bias = self.packed
        size = state.shape[1]
        if self.recurrent_weight is None:
            gates = np.concatenate(fed, axis=1) @ weight
            gates += bias
            np.tanh(gates, out=gates)
            take, new = gates[:, :size], gates[:, size:]
            return HALF * (state + new + take * (new - state))
        gates = np.concatenate([*fed, state], axis=1) @ weight
        gates += bias
        gate = np.tanh(gates[:, : 2 * size])
        new = np.tanh(gates[:, 2 * size : 3 * size] + gate[:, :size] * gates[:, 3 * size :])
        return HALF * (state + new + gate[:, size:] * (state - new))

    def finite(self) -> bool:
        """Tell whether all its numbers are finite."""
        return all(map(all_finite, self.arrays().values()))

    def description(self) -> dict[str, Any]:
        """Return what a file has to say of it."""
        kind = "mingru" if self.recurrent_weight is None else "gru"
        return {"memory": kind, "memory_size": self.size, "fed": list(self.fed)}

    def arrays(self) -> dict[str, Floats]:
        """Return its numbers, by the names that they have in a file."""
        found = {
            "memory.input.weight": self.input_weight,
            "memory.input.bias": self.input_bias,
            "memory.recurrent.weight": self.recurrent_weight,
            "memory.recurrent.bias": self.recurrent_bias,
        }
        return {name: array for name, array in found.items() if array is not None}


def remembers(size: int, fed: Sequence[str], action_size: int) -> Remembers:
    """Return what a memory with a state of this size carries, which is fed this."""
    return Remembers(size, action_size if "action" in fed else 0, "reward" in fed)


def recurrent_cell(arrays: Mapping[str, Floats], fed: tuple[str, ...]) -> RecurrentCell:
    """Return the cell whose `arrays` these are.

    Raises:
        KeyError: one is missing.
    """
    return RecurrentCell(
        fed,
        arrays["memory.input.weight"],
        arrays["memory.input.bias"],
        arrays.get("memory.recurrent.weight"),
        arrays.get("memory.recurrent.bias"),
    )


def cell_fits(cell: RecurrentCell, obs_size: int, action_size: int) -> bool:
    """Tell whether a cell leads from what it is fed to its state."""
    sizes = dict(zip(FED, (obs_size, action_size, 1), strict=True))
    inputs, size = sum(sizes[name] for name in cell.fed), cell.size
    gates = (2 if cell.recurrent_weight is None else 3) * size
    if size == 0 or cell.input_bias.shape != (gates,) or cell.input_weight.shape != (inputs, gates):
        return False
    if cell.recurrent_weight is None or cell.recurrent_bias is None:
        return cell.recurrent_weight is cell.recurrent_bias
    return cell.recurrent_weight.shape == (size, gates) and cell.recurrent_bias.shape == (gates,)
