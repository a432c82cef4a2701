"""A policy as one file for NumPy: its arrays, and its description as JSON text among them."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from qmu.deploy.description import read_policy, unreadable
from qmu.deploy.policy import Policy

DESCRIPTION = "description"


def pack(policy: Policy) -> bytes:
    """Return a policy as the bytes of a .npz file."""
    file = io.BytesIO()
    held: dict[str, Any] = {DESCRIPTION: json.dumps(policy.description())}
    np.savez(file, **(held | policy.arrays()))
    return file.getvalue()


def read(data: bytes, source: Path) -> Policy:
    """Return the policy in the bytes of a .npz file; `source` is named where there is none.

    Raises:
        ConfigError: they are damaged, or of something else.
    """
    try:
        # NumPy takes other files for pickles, and would say so.
        if not zipfile.is_zipfile(io.BytesIO(data)):
            raise ValueError("it is no .npz file, or cut off")
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = dict(file)
        description = json.loads(str(arrays.pop(DESCRIPTION)))
    # A damaged zip file or array raises whatever its reader stumbles over.
    except Exception as error:
        raise unreadable(source, error) from None
    return read_policy(arrays, description, source)
