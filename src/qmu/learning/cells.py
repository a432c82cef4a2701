"""From a memory that learns to one that acts on the host, and back."""

from typing import Any

import jax.numpy as jnp

from qmu.agent.layers import Linear
from qmu.agent.memory import GRU, Memory, MinGRU
from qmu.deploy.memory import RecurrentCell


def to_cell(memory: Any) -> RecurrentCell:
    """Return a memory, in NumPy."""
    cell = memory.cell
    inputs = (cell.inputs.weight, cell.inputs.bias)
    recurrent = (cell.recurrent.weight, cell.recurrent.bias) if isinstance(cell, GRU) else ()
    return RecurrentCell(memory.fed, *inputs, *recurrent)


def to_memory(cell: RecurrentCell) -> Memory:
    """Return what `to_cell` made a cell of."""
    inputs = Linear(jnp.asarray(cell.input_weight), jnp.asarray(cell.input_bias))
    if cell.recurrent_weight is None:
        return Memory(MinGRU(inputs), cell.fed, 0)
    assert cell.recurrent_bias is not None
    recurrent = Linear(jnp.asarray(cell.recurrent_weight), jnp.asarray(cell.recurrent_bias))
    return Memory(GRU(inputs, recurrent), cell.fed, 0)
