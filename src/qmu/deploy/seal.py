"""Sums of bytes: files that end in one, and descriptions that hold their own.

They are for formats whose readers notice no damage.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

# Of a SHA-256 sum, as text.
DIGITS = 64
# A description's word for the sum of all else that it says.
SUM = "sha256"
# A zip file ends in the length of a comment, and the comment. That of a sealed one is its sum.
NO_COMMENT, COMMENT = (length.to_bytes(2, "little") for length in (0, DIGITS))


def sum_of(data: bytes) -> str:
    """Return the SHA-256 sum of bytes, as text."""
    return hashlib.sha256(data).hexdigest()


def sealed(body: bytes) -> bytes:
    """Return bytes, and their sum behind them."""
    return body + sum_of(body).encode()


def check_seal(data: bytes) -> None:
    """Raise ValueError unless bytes end in the sum of those before."""
    if data != sealed(data[:-DIGITS]):
        raise ValueError("it is damaged, or not from qmu: it does not end in the sum of its bytes")


def sealed_zip(data: bytes) -> bytes:
    """Return a zip file, which has no comment, with its sum as one."""
    return sealed(data.removesuffix(NO_COMMENT) + COMMENT)


def read_json(text: str | bytes) -> Any:
    """Return what JSON says.

    Raises:
        ValueError: it is none, or says something twice, so that readers do not agree about it.
    """
    return json.loads(text, object_pairs_hook=unequal)


def unequal(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a dictionary of pairs. Raises ValueError where a name is there twice."""
    held = dict(pairs)
    if len(held) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it says twice what {max(names, key=names.count)!r} is")
    return held


def canonical(described: Mapping[str, Any]) -> bytes:
    """Return the one spelling of a description that its sum is taken of."""
    return json.dumps(described, sort_keys=True, separators=(",", ":")).encode()


def signed(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description as JSON holds it, with the sum of everything in it."""
    plain = json.loads(json.dumps(described))
    return plain | {SUM: sum_of(canonical(plain))}


def unsigned(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return a signed description without its sum. Raises ValueError if it is another one."""
    plain = {name: value for name, value in described.items() if name != SUM}
    if described.get(SUM) != sum_of(canonical(plain)):
        raise ValueError("it is not what was written: its SHA-256 sum is another one")
    return plain
