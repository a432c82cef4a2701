"""A run's diagnosis: what `health` finds in each of its members, put together."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium as gym

from qmu.errors import ConfigError
from qmu.training.health import Chart, Finding, examine, seeds_disagree
from qmu.training.members import Member
from qmu.training.results import Run
from qmu.world.families import register


class Diagnosis(NamedTuple):
    """A finding, and the members that it was found in; those of the first one are its numbers."""

    finding: Finding
    members: tuple[Member, ...]

    @property
    def who(self) -> str:
        """Name the members, by their arms."""
        arms: dict[str, list[int]] = {}
        for member in self.members:
            arms.setdefault(member.arm, []).append(member.seed)
        return "; ".join(
            f"{f'{arm}: ' if arm else ''}{spelled(seeds)}" for arm, seeds in arms.items()
        )


def spelled(seeds: Sequence[int]) -> str:
    """Return seeds in words: `seed 3`, `seeds 0, 2`, or `seeds 0 to 9`."""
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seeds {', '.join(map(str, seeds))}"


def diagnose(run: Run) -> list[Diagnosis]:
    """Return what is wrong with a run, what is serious first.

    Raises:
        ConfigError: it is damaged.
    """
    members = run.members
    return together(members, charts(members, run.metrics(), time_limit(run.info["environment"])))


def charts(
    members: Sequence[Member], lines: Sequence[Mapping[str, Any]], longest: int | None
) -> list[Chart]:
    """Return each member's chart, from all lines of metrics."""
    own: dict[str, list[Mapping[str, Any]]] = {member.name: [] for member in members}
    for line in lines:
        if line["member"] in own:
            own[line["member"]].append(line)
    return [Chart(member.config, own[member.name], longest) for member in members]


def together(members: Sequence[Member], found: Sequence[Chart]) -> list[Diagnosis]:
    """Return the findings of all members, each once."""
    named: dict[str, list[tuple[Member, Finding]]] = {}
    for member, chart in zip(members, found, strict=True):
        for finding in examine(chart):
            named.setdefault(finding.name, []).append((member, finding))
    for arm in dict.fromkeys(member.arm for member in members):
        of_arm = [pair for pair in zip(members, found, strict=True) if pair[0].arm == arm]
        disagreement = seeds_disagree([chart for _, chart in of_arm])
        if disagreement is not None:
            pairs = [(member, disagreement) for member, _ in of_arm]
            named.setdefault(disagreement.name, []).extend(pairs)
    diagnoses = []
    for pairs in named.values():
        worst = max(pairs, key=lambda pair: pair[1].serious)
        diagnoses.append(Diagnosis(worst[1], tuple(member for member, _ in pairs)))
    return sorted(diagnoses, key=lambda one: not one.finding.serious)


def time_limit(name: str) -> int | None:
    """Return an environment's own limit of an episode, if it is known here."""
    try:
        register(name)
        return gym.spec(name).max_episode_steps
    except (gym.error.Error, ImportError, ConfigError):
        return None


def lines_of(diagnoses: Sequence[Diagnosis]) -> list[str]:
    """Return a diagnosis in words."""
    if not diagnoses:
        return ["Nothing is wrong, as far as the numbers say."]
    lines = []
    for diagnosis in diagnoses:
        finding = diagnosis.finding
        mark = "SERIOUS: " if finding.serious else ""
        lines += [
            f"{mark}{finding.name} ({diagnosis.who}; {finding.sure})",
            f"  seen   {finding.seen}",
            f"  means  {finding.meaning}",
            f"  try    {finding.advice}",
        ]
    return lines
