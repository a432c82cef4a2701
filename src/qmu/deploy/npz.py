"""A policy as one file for NumPy: its arrays, and its description as JSON text among them.

It is a zip file, whose comment is the sum of all bytes before.
"""

import io
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from qmu.deploy.description import check_unsealed, read_policy, unreadable
from qmu.deploy.policy import Policy
from qmu.deploy.seal import check_seal, read_json, sealed_zip

DESCRIPTION = "description"
# Readers of an array's header, by the version of it.
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def pack(policy: Policy) -> bytes:
    """Return a policy as the bytes of a .npz file."""
    file = io.BytesIO()
    held: dict[str, Any] = {DESCRIPTION: json.dumps(policy.description())}
    np.savez(file, **(held | policy.arrays()))
    return sealed_zip(file.getvalue())


def read(data: bytes, source: Path) -> Policy:
    """Return the policy in the bytes of a .npz file; `source` is named where there is none.

    Raises:
        ConfigError: they are damaged, or of something else.
    """
    try:
        # NumPy takes other files for pickles, and would say so.
        if not zipfile.is_zipfile(io.BytesIO(data)):
            raise ValueError("it is no .npz file, or cut off")
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            sealed = bool(file.comment)
            if sealed:
                check_seal(data)
            check_sizes(file, len(data))
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = dict(file)
        description = read_json(str(arrays.pop(DESCRIPTION)))
        if not sealed:
            check_unsealed(description, source)
    # A damaged zip file or array raises whatever its reader stumbles over.
    except Exception as error:
        raise unreadable(source, error) from None
    return read_policy(arrays, description, source)


def check_sizes(file: zipfile.ZipFile, size: int) -> None:
    """Raise ValueError where a file of this size would be unpacked to more than it has."""
    entries = file.infolist()
    if sum(entry.file_size for entry in entries) > size:
        raise ValueError("it is not from qmu: it is larger unpacked than it is")
    for entry in entries:
        with file.open(entry) as array:
            shape, _, dtype = HEADERS[npy.read_magic(array)](array)
            if math.prod(shape) * dtype.itemsize > entry.file_size:
                raise ValueError(f"{entry.filename} is said to be larger than it is")
