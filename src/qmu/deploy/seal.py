"""Sums of bytes, and files that end in one, for formats whose readers notice no damage."""

import hashlib

# Of a SHA-256 sum, as text.
DIGITS = 64


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
