"""Writes down, as rows, what happens while members act in their worlds."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qmu.errors import WorldError
from qmu.rows import Rows
from qmu.world.breakdowns import Breakdown
from qmu.world.hearing import stepping
from qmu.world.host import Floats, Outcome, Restarted, Worlds
from qmu.world.spaces import Spaces, to_environment

Bools = NDArray[np.bool_]
Act = Callable[[int, int, Floats, Sequence[float], Bools], Floats]


class Episode(NamedTuple):
    """A finished episode of the rollout."""

    member: int
    total_reward: float
    length: int


class Collector:
    """Steps every member's worlds and writes down what happened, as rows."""

    def __init__(
        self, members: Sequence[Worlds], seeds: Sequence[int], stride: int | None = None
    ) -> None:
        """Take one `Worlds` per member, all alike, and the members' seeds, which name them.

        `stride` is how many worlds a member has, where not all of them are here.
        """
        self.members = list(members)
        self.seeds = list(seeds)
        self.spaces = members[0].spaces
        self.worlds = members[0].count
        self.stride = stride or self.worlds
        # Steps that each member had taken before the next collection.
        self.steps = 0
        self.world_steps_before = [0] * len(self.members)
        self.current: list[list[Floats]] = []
        # (member, world, cause) -> the step of the first breakdown, and how many there were.
        self.broken: dict[tuple[int, int, str], tuple[int, int]] = {}
        self.rewards = np.zeros((len(self.members), self.worlds))
        # Those of the step before.
        self.newest = [[0.0] * self.worlds for _ in self.members]
        self.lengths = np.zeros((len(self.members), self.worlds), np.int64)

    @stepping()
    def reset(self, seeds: Sequence[Sequence[int]]) -> None:
        """Start an episode in every world, each with its seed."""
        self.current = [worlds.reset(own) for worlds, own in zip(self.members, seeds, strict=True)]
        self.rewards[:] = 0
        self.lengths[:] = 0

    @stepping()
    def collect(
        self, steps: int, act: Act, slots: int, cut: Floats | None = None
    ) -> tuple[Rows, list[Episode]]:
        """Execute `steps` actions of every world; return their rows and the finished episodes.

        `act(member, time, obs [worlds, obs], rewards [worlds], started [worlds])` returns actions
        [worlds, action] in [-1, 1]; `rewards` are those of the step before, `started` marks the
        worlds in which this is an episode's first action.
        `slots` is the length of the rows' arrays: more than twice the steps, and one. With `cut`
        [members, worlds, obs], the rows begin with these observations as `last` ones: episodes
        were cut off there. It ends before `steps` where the only world comes to rest.

        Raises:
            WorldError: a world raised, or returned something impossible; says at which step. The
                worlds have to be reset.
        """
        spaces, worlds = self.spaces, self.worlds
        shape = (len(self.members), worlds, slots)
        rows = no_rows(shape, spaces)
        if cut is not None:
            rows.obs[:, :, 0] = cut
            rows.last[:, :, 0] = True
            rows.count[:] = 1
        episodes: list[Episode] = []
        taken = steps
        # What an evaluation in the same world has taken, or a collection that failed, is no part.
        self.world_steps_before = [own.world_steps() for own in self.members]
        for time in range(steps):
            if self.members[0].at_rest:
                taken = time
                break
            for member, member_worlds in enumerate(self.members):
                current = self.current[member]
                # np.stack takes 3 µs, a tenth of a step of Pendulum with everything around it.
                obs = current[0][None] if worlds == 1 else np.stack(current)
                started = self.lengths[member] == 0
                action = act(member, time, obs, self.newest[member], started)
                try:
                    outcomes = member_worlds.step(to_environment(action, spaces.low, spaces.high))
                except WorldError as error:
                    step = self.steps + (time + 1) * self.stride
                    raise WorldError(
                        f"at step {step} of the member with seed {self.seeds[member]}: {error}"
                    ) from error
                if member_worlds.broken:
                    self.note_broken(member, self.steps + (time + 1) * self.stride)
                for world, outcome in enumerate(outcomes):
                    if isinstance(outcome, Restarted):
                        self.write_restart(rows, member, world, obs[world], outcome)
                    else:
                        self.write(
                            rows, member, world, obs[world], action[world], outcome, episodes
                        )
        for member in range(len(self.members)):
            for world in range(worlds):
                head = rows.count[member, world]
                rows.obs[member, world, head] = self.current[member][world]
                rows.last[member, world, head] = True
        self.steps += taken * self.stride
        return rows, episodes

    def write_restart(
        self, rows: Rows, member: int, world: int, obs: Floats, outcome: Restarted
    ) -> None:
        """Write that an episode was cut off at its newest observation: a truncation."""
        row = rows.count[member, world]
        rows.obs[member, world, row] = obs
        rows.last[member, world, row] = True
        rows.count[member, world] = row + 1
        self.rewards[member, world] = 0
        self.lengths[member, world] = 0
        self.current[member][world] = outcome.current

    def note_broken(self, member: int, step: int) -> None:
        """Note which simulations of a member have begun anew by themselves in a step."""
        worlds = self.members[member]
        for world, cause in worlds.broken:
            first, count = self.broken.get((member, world, cause), (step, 0))
            self.broken[member, world, cause] = first, count + 1
        worlds.broken = []

    def breakdowns(self) -> list[Breakdown]:
        """Return which simulations have begun anew by themselves since the last call."""
        noted, self.broken = self.broken, {}
        return [
            Breakdown(member, world, step, cause, count)
            for (member, world, cause), (step, count) in noted.items()
        ]

    def restarts(self) -> list[tuple[int, str]]:
        """Return which members' worlds have been replaced since the last call, and why."""
        found = [(index, why) for index, own in enumerate(self.members) for why in own.replaced]
        for own in self.members:
            own.replaced = []
        return found

    def world_steps(self) -> list[int]:
        """Return each member's steps of the worlds themselves in the newest collection.

        They are counted where an action is repeated.
        """
        return [
            own.world_steps() - before
            for own, before in zip(self.members, self.world_steps_before, strict=True)
        ]

    def write(
        self,
        rows: Rows,
        member: int,
        world: int,
        obs: Floats,
        action: Floats,
        outcome: Outcome,
        episodes: list[Episode],
    ) -> None:
        """Write the row of one action, and that of the final observation if the episode ended."""
        row = rows.count[member, world]
        rows.obs[member, world, row] = obs
        rows.action[member, world, row] = action
        rows.reward[member, world, row] = self.newest[member][world] = outcome.reward
        self.rewards[member, world] += outcome.reward
        self.lengths[member, world] += 1
        if outcome.terminated or outcome.truncated:
            rows.terminated[member, world, row] = outcome.terminated
            row += 1
            rows.obs[member, world, row] = outcome.final
            rows.last[member, world, row] = True
            episodes.append(
                Episode(
                    member,
                    float(self.rewards[member, world]),
                    int(self.lengths[member, world]),
                )
            )
            self.rewards[member, world] = 0
            self.lengths[member, world] = 0
        self.current[member][world] = outcome.current
        rows.count[member, world] = row + 1

    def close(self) -> None:
        """Close all worlds."""
        for worlds in self.members:
            worlds.close()


def no_rows(shape: tuple[int, int, int], spaces: Spaces) -> Rows:
    """Return arrays for rows [members, worlds, slots], of which none counts yet."""
    return Rows(
        obs=np.zeros((*shape, spaces.layout.size), spaces.layout.dtype),
        action=np.zeros((*shape, spaces.action_size), np.float32),
        reward=np.zeros(shape, np.float32),
        terminated=np.zeros(shape, bool),
        last=np.zeros(shape, bool),
        count=np.zeros(shape[:2], np.int32),
    )
