"""Simulations that begin anew on their own, inside of a step: MuJoCo's, seen by its clock.

Where MuJoCo finds numbers that are not finite or huge, it puts the whole state back to that of the
model and goes on. An environment does not notice, and what it returns leads from a state that has
broken down to a start. MuJoCo is not imported for this: worlds bring it along.
"""

import sys
from typing import Any, NamedTuple

# MuJoCo's warnings after which it begins anew, and what was not finite or huge.
WARNINGS = {
    "mjWARN_BADQPOS": "positions",
    "mjWARN_BADQVEL": "velocities",
    "mjWARN_BADQACC": "accelerations",
}
CLOCK = "its clock went back inside of a step"


class Breakdown(NamedTuple):
    """In how many steps the simulation of a member's world began anew by itself, and why.

    `first` is the member's step at which that was seen first.
    """

    member: int
    world: int
    first: int
    cause: str
    steps: int


class Watch:
    """The clock of a MuJoCo simulation, looked at after every step of its world."""

    def __init__(self, data: Any, counters: dict[int, str]) -> None:
        """Take the simulation's `MjData`, and what its counters of warnings are of."""
        self.data, self.counters = data, counters
        # How far the clock goes in a step.
        self.usual = 0.0
        self.begin()

    def begin(self) -> None:
        """Begin where the clock stands: an episode has begun."""
        self.time = float(self.data.time)
        self.first = not self.bad()

    def bad(self) -> list[str]:
        """Return what MuJoCo has found to be broken since the state was last put back."""
        numbers = self.data.warning.number
        return [name for index, name in self.counters.items() if numbers[index]]

    def look(self) -> str | None:
        """Return why the simulation has begun anew in the last step; None if it has not.

        Its clock then goes less far than otherwise, but in an episode's first step, whose state is
        new already. A world may take shorter steps at times; so MuJoCo's counters have to say it
        too, unless the clock has gone back.
        """
        before, self.time = self.time, float(self.data.time)
        first, self.first = self.first, False
        self.usual = max(self.usual, self.time - before)
        if self.time - before > 0.999 * self.usual and not first:
            return None
        if bad := self.bad():
            return f"MuJoCo found {' and '.join(bad)} that were not finite or huge"
        return CLOCK if self.time < before else None


def watch_of(environment: Any, before: Watch | None = None) -> Watch | None:
    """Return a watch of the MuJoCo simulation in an environment, which has begun an episode.

    None where there is none. `before` is that of the episode before.
    """
    mujoco: Any = sys.modules.get("mujoco")
    kind = getattr(mujoco, "MjData", None)
    data = None if kind is None else data_in(environment.unwrapped, kind)
    if data is None:
        return None
    if before is not None and before.data is data:
        before.begin()
        return before
    counters = {int(getattr(mujoco.mjtWarning, name)): what for name, what in WARNINGS.items()}
    return Watch(data, counters)


def data_in(world: Any, kind: type) -> Any:
    """Return the first `MjData` that a world holds, or that something holds which it holds."""
    held = list(getattr(world, "__dict__", {}).values())
    deeper = [getattr(one, "__dict__", {}).get("data") for one in held]
    return next((one for one in held + deeper if isinstance(one, kind)), None)
