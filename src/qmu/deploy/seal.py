"""A file that ends in the sum of its bytes, for formats whose readers notice no damage."""

import hashlib

# Of a SHA-256 sum, as text.
DIGITS = 64


def sealed(body: bytes) -> bytes:
    """Return bytes, and their sum behind them."""
    return body + hashlib.sha256(body).hexdigest().encode()


def check_seal(data: bytes) -> None:
    """Raise ValueError unless bytes end in the sum of those before."""
    if data != sealed(data[:-DIGITS]):
        raise ValueError("it is damaged, or not from qmu: it does not end in the sum of its bytes")
