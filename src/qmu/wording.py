"""Numbers of things, as a sentence has them."""


def counted(number: int, noun: str) -> str:
    """Return a number and what it counts: `1 world`, `2,000 worlds`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
