"""How many processes step a run's worlds, and where they are, as an option."""

import re

from qmu.errors import ConfigError

RAY = "ray:"
# The address of a Ray cluster that is started on this machine alone, and ends with its user.
HERE = "ray"


class Workers(str):
    """`2`: processes of this machine. `ray:8`: of a Ray cluster. `0`: the run's own process."""

    __slots__ = ()

    @property
    def on_ray(self) -> bool:
        """Whether a Ray cluster has them."""
        return self.startswith(RAY)

    @property
    def number(self) -> int:
        """How many there are."""
        return int(self.removeprefix(RAY))


def read_workers(text: str) -> Workers:
    """Return the workers that a text says. Raises ConfigError where it says none."""
    number = text.removeprefix(RAY)
    if not re.fullmatch("-?[0-9]{1,9}", number):
        raise ConfigError(
            f"{text!r:.80} is not a number of processes on this machine, such as 2, or on a Ray "
            "cluster, such as ray:8"
        )
    return Workers(f"{RAY if text.startswith(RAY) else ''}{int(number)}")
