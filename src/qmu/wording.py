"""Numbers of things, as a sentence has them."""


def counted(number: int, noun: str) -> str:
    """Return a number and what it counts: `1 world`, `2,000 worlds`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def duration(seconds: float) -> str:
    """Return a time as a person reads it: `45 s`, `12 min`, `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def sized(size: float) -> str:
    """Return a number of bytes as a person reads it: `74 KiB`, `0.3 MiB`, `97 MiB`, `1.8 GiB`."""
    mebibytes = size / 2**20
    if mebibytes < 0.095:
        return f"{size / 2**10:.0f} KiB"
    if mebibytes < 999.5:
        return f"{mebibytes:.{0 if mebibytes >= 9.95 else 1}f} MiB"
    gibibytes = mebibytes / 2**10
    return f"{gibibytes:.1f} GiB" if gibibytes < 999.5 else f"{gibibytes / 2**10:.1f} TiB"
