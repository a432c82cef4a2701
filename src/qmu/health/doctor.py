"""A run's diagnosis: what `health` finds in each of its members, put together."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium as gym

from qmu.config import UNLIMITED_STEPS, learn_after, total_steps
from qmu.config.members import Member
from qmu.errors import ConfigError
from qmu.health.advice import not_given
from qmu.health.chart import CERTAIN, RECENT, SURE, Chart, Finding
from qmu.health.rules import RULES, examine, seeds_disagree, urgency
from qmu.learning.learner import MEASURED_EVERY
from qmu.records.kept import Kept
from qmu.world.families import register

# What may keep a run from diverging.
DIVERGED = (
    "lower --actor.lr and --critic.lr, --critic.clip-norm 1, --critic.norm layer, "
    "--env.normalize-rewards or a smaller --env.reward-scale where rewards are far above 1, "
    "--env.normalize-obs where observations are"
)


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


class Checkup(NamedTuple):
    """What is wrong with a run, what is serious first, and what there are no numbers for."""

    diagnoses: list[Diagnosis]
    not_asked: list[str]

    @property
    def urgency(self) -> tuple[bool, int]:
        """What runs are ordered by: that of their first finding."""
        return urgency(self.diagnoses[0].finding) if self.diagnoses else (True, len(SURE))


def examine_run(run: Kept) -> Checkup:
    """Return what the numbers in a run's directory say of it.

    Raises:
        ConfigError: it is damaged.
    """
    members = run.members
    longest = run.config.env.actions(time_limit(run.info["environment"]))
    own = charts(members, run.metrics(), longest)
    return Checkup(in_order([*ending(run, members), *together(members, own)]), not_asked(own))


def ending(run: Kept, members: tuple[Member, ...]) -> list[Diagnosis]:
    """Return what has ended the run early, if something went wrong, by its own description."""
    info = run.info
    if info.get("status") not in ("diverged", "failed"):
        return []
    error = str(info.get("error") or "no reason is known").strip().rstrip(".")
    total = total_steps(run.config)
    planned = "" if total == UNLIMITED_STEPS else f" of {total}"
    seen = f"It ended after {info.get('steps')}{planned} steps: {error}"
    if info["status"] == "failed":
        finding = Finding(
            "The run failed",
            seen,
            "The training was cut short by something else than what it learned",
            CERTAIN,
            "`qmu resume` with the run's directory when the cause is mended (it needs a "
            "checkpoint), --env.on-error restart where a world fails now and then",
            serious=True,
        )
        return [Diagnosis(finding, members)]
    finding = Finding(
        "Diverged",
        # What it says of a way out is said below.
        seen.partition(". ")[0],
        "A step of learning was so large that the next was larger; the newest policy is of no "
        "use, and a best one, if there is any, is from before",
        CERTAIN,
        not_given(DIVERGED, members[0].config),
        serious=True,
    )
    named = tuple(one for one in members if f"member with {one.label} diverged" in error)
    return [Diagnosis(finding, named or members)]


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
        worst = min(pairs, key=lambda pair: urgency(pair[1]))
        diagnoses.append(Diagnosis(worst[1], tuple(member for member, _ in pairs)))
    return in_order(diagnoses)


def in_order(diagnoses: Sequence[Diagnosis]) -> list[Diagnosis]:
    """Return what is serious first, and of that what is certain."""
    return sorted(diagnoses, key=lambda one: urgency(one.finding))


def time_limit(name: str) -> int | None:
    """Return an environment's own limit of an episode, if it is known here."""
    if ":" in name:
        # A run's directory may not say what is imported.
        return None
    try:
        register(name)
        return gym.spec(name).max_episode_steps
    except (gym.error.Error, ImportError, ConfigError):
        return None


def told(run: Kept) -> list[str]:
    """Return a run's diagnosis in words, and what could not be asked."""
    checkup = examine_run(run)
    return lines_of(checkup.diagnoses) + checkup.not_asked


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
            f"  Seen:  {finding.seen}.",
            f"  Means: {finding.meaning}.",
            f"  Try:   {finding.advice}.",
        ]
    return lines


def not_asked(found: Sequence[Chart]) -> list[str]:
    """Return one line about the rules that had too few numbers, if there are any.

    It is that of the member that has the fewest.
    """
    lacks = [{rule.about: rule.lacks(chart) for rule in RULES} for chart in found]
    lacking = {about: names for lack in lacks for about, names in lack.items() if names}
    if not lacking:
        return []
    fewest = min(found, key=lambda chart: chart.updates)
    names = {name for own in lacking.values() for name in own}
    ways = []
    evaluations = {name for name in names if name.startswith("eval/")}
    after = "" if evaluations else " after the first update"
    unforeseeable = "health/q_bias" in names and any(map(nearly_all_foreseen, found))
    if counted := evaluations or (set() if unforeseeable else names & {"health/q_bias"}):
        so_far = min(len(chart.all(name)) for chart in found for name in counted)
        none = not found[0].config.train.eval_interval
        way = f"{'an' if none else 'a smaller'} --train.eval-interval{' above 0' if none else ''}"
        ways.append(f"{RECENT} evaluations{after} ({so_far} so far; {way})")
    if any(name.startswith(("health/", "train/")) for name in names - {"health/q_bias"}):
        # The first update is measured, too.
        measured = -(-fewest.updates // MEASURED_EVERY)
        way = "a smaller --log.interval" if measured >= 2 * RECENT else "a longer training"
        ways.append(
            f"up to {2 * RECENT} lines with measurements of the networks, which are made once per "
            f"{MEASURED_EVERY} updates ({fewest.updates:,} updates by the last line; {way})"
        )
    if any(name.startswith("rollout/") for name in names):
        ways.append(f"{RECENT} lines after the first finished episode (a longer training)")
    if unforeseeable:
        ways.append("episodes that terminate, or a lower --target.gamma")
    return [
        f"Not asked, for lack of numbers: {', '.join(lacking)}. They need {' and '.join(ways)}."
    ]


def nearly_all_foreseen(chart: Chart) -> bool:
    """Tell whether evaluations of a critic that had learned could not say how well it foresees."""
    began = learn_after(chart.config)
    return chart.updates > 0 and any(
        "eval/mean_reward" in line and "health/q_bias" not in line and line["step"] > began
        for line in chart.lines
    )
