"""What is wrong with a world, by what was seen of it: rules, in order of importance.

Each was set on a world made to have the disease, and on healthy ones: tests/health/test_check.py.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from qmu.layout import numbers_of
from qmu.parts import Part
from qmu.world.host import place
from qmu.world.normalizing import Normalizer, consequence, instead
from qmu.world.parts import axes_of, bounds_of_numbers, leaves, of_bytes
from qmu.world.spaces import Spaces

# What a symptom is: training is impossible, will suffer, or may be better.
ERROR, WARNING, HINT = "ERROR", "warning", "hint"
# A default update takes about this long on two cores (benchmarks/results).
UPDATE_SECONDS = 1.2e-3
# What to do about a simulation that breaks down.
BREAKS_DOWN = (
    "a shorter timestep, weaker actuators or more damping in the model; end the episode before the "
    "state is out of bounds"
)


class Symptom(NamedTuple):
    """Something that is wrong: how much it matters, what was seen, what it means, what to do."""

    level: str
    name: str
    seen: str
    meaning: str
    advice: str


@dataclass
class Walk:
    """What was seen in a walk, step by step; `obs_at_ends` are the episodes' last ones.

    `kinds` are the types of observations and `shapes` their shapes, by the names of their parts;
    `unknown` are parts that the space does not have.
    `other_infos` says who returned an info that is none. `self_resets` counts ends whose info has
    another last observation than was returned. `broken` are the steps in which the simulation began
    anew by itself, and why.
    """

    obs: list[NDArray[np.float32]] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    terminated: list[bool] = field(default_factory=list)
    truncated: list[bool] = field(default_factory=list)
    obs_at_ends: list[NDArray[np.float32]] = field(default_factory=list)
    kinds: dict[str, set[str]] = field(default_factory=dict)
    shapes: dict[str, set[tuple[int, ...]]] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    reused: int = 0
    self_resets: int = 0
    other_infos: set[str] = field(default_factory=set)
    broken: list[tuple[int, str]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    resets: int = 0
    reset_seconds: float = 0.0
    failure: str | None = None

    def episodes(self) -> tuple[list[int], list[float]]:
        """Return the lengths and returns of the episodes that ended."""
        ends = np.flatnonzero(np.logical_or(self.terminated, self.truncated)) + 1
        parts = np.split(np.array(self.rewards), ends)[: len(ends)]
        return [len(part) for part in parts], [float(part.sum()) for part in parts]


class Evidence(NamedTuple):
    """What is known of a world.

    `failure` says in words where it failed first, and how; `walk` may be whole in spite of it.
    `differs_again` and `differs_elsewhere` are the first steps at which the same seed and actions
    led to something else, in the same world and in a new one; `differs_in_turn` where two worlds
    were stepped in turn, compared with each alone. `starts` are first observations of different
    seeds, `said` is what MuJoCo has warned of, `normalizers` are wrappers inside of the world.
    `changed_obs` says whether wrappers change observations, `single` whether it was the only world,
    so that nothing was compared with a second one, and `hidden` what was taken away.
    """

    name: str
    spaces: Spaces
    space: gym.Space[Any]
    longest: int | None
    walk: Walk
    failure: str | None
    differs_again: int | None
    differs_elsewhere: int | None
    differs_in_turn: int | None
    starts: list[NDArray[np.float32]]
    said: tuple[str, ...]
    normalizers: tuple[Normalizer, ...]
    changed_obs: bool
    single: bool
    hidden: tuple[str, ...]

    @property
    def all_obs(self) -> NDArray[np.float32]:
        """The numbers of all observations that were seen [observations, numbers]."""
        return numbers_of(self.spaces.layout, self.all_rows)

    @property
    def all_rows(self) -> NDArray[Any]:
        """All observations that were seen, as they lie in rows [observations, size]."""
        rows, layout = self.walk.obs + self.walk.obs_at_ends, self.spaces.layout
        return np.stack(rows) if rows else np.zeros((0, layout.size), layout.dtype)


Rule = Callable[[Evidence], Symptom | None]


def examine(evidence: Evidence) -> Iterator[Symptom]:
    """Yield what is wrong with a world, the most important first."""
    found = [symptom for rule in RULES if (symptom := rule(evidence)) is not None]
    levels = (ERROR, WARNING, HINT)
    yield from sorted(found, key=lambda symptom: levels.index(symptom.level))


def fails(evidence: Evidence) -> Symptom | None:
    """It raises, or returns what no run can go on with."""
    failure = evidence.failure
    if failure is None:
        return None
    if "values to unpack" in failure:
        advice = (
            "step must return obs, reward, terminated, truncated, info, and reset obs, info: an "
            "environment of the old Gym needs an adapter"
        )
    elif " raised in " in failure:
        advice = "mend it; if it happens rarely, --env.on-error restart goes on with a new world"
    else:
        advice = (
            "mend it: clip what may overflow, end the episode before the simulation breaks down, "
            "and return what the spaces say"
        )
    return Symptom(
        ERROR,
        "the world fails" if " raised in " in failure else "the world returns what is impossible",
        failure,
        "a run ends where this happens",
        advice,
    )


def not_deterministic(evidence: Evidence) -> Symptom | None:
    """The same seed and actions lead to something else."""
    again, elsewhere = evidence.differs_again, evidence.differs_elsewhere
    if again is None and elsewhere is None:
        return None
    meaning = (
        "runs cannot be repeated, a resumed run is not the one that was never interrupted, and "
        "scores of evaluations have more spread"
    )
    if elsewhere is None:
        new = "; a new one was not made" if evidence.single else ", but not in a new one"
        return Symptom(
            WARNING,
            "reset(seed) does not begin anew",
            f"the same seed and actions gave another row at step {again} in the same world{new}",
            meaning,
            "set everything that the world remembers in reset, filters and random numbers included",
        )
    step = min(one for one in (again, elsewhere) if one is not None)
    return Symptom(
        WARNING,
        "not deterministic after reset(seed)",
        f"the same seed and actions gave another row at step {step}",
        meaning,
        "draw random numbers from self.np_random only, which super().reset(seed=seed) sets",
    )


def resets_itself(evidence: Evidence) -> Symptom | None:
    """It begins the next episode inside of a step."""
    count = evidence.walk.self_resets
    if not count:
        return None
    seen = (
        f"at {count:,} of {len(evidence.walk.obs_at_ends):,} ends the info has another last "
        "observation than the step returned"
    )
    if evidence.changed_obs:
        return Symptom(
            WARNING,
            "the world resets itself inside of step",
            f"{seen}, and wrappers around it change observations, but not that one",
            "episodes seem to end in the first observation of the next one, and values of what "
            "follows a truncation are learned from it",
            "leave resets to whoever steps the world, or put what changes observations into it",
        )
    return Symptom(
        HINT,
        "the world resets itself inside of step",
        seen,
        "qmu takes the one in the info for the episode's last, and resets once more",
        "leave resets to whoever steps the world, which saves one of them",
    )


def shared_state(evidence: Evidence) -> Symptom | None:
    """Two worlds of one process disturb each other."""
    others = (evidence.failure, evidence.differs_again, evidence.differs_elsewhere)
    if evidence.differs_in_turn is None or any(one is not None for one in others):
        return None
    return Symptom(
        WARNING,
        "worlds of one process share state",
        "two of them, stepped in turn, gave another row at step "
        f"{evidence.differs_in_turn} than each of them alone, with the same seeds and actions",
        "training and evaluation, and worlds beside each other, disturb each other: what is "
        "learned is of no world, and scores are of no policy",
        "keep in self all that a world changes: not in its class, a module, a default client of "
        "a simulator or NumPy's global random numbers; or give each world a process, with as many "
        "--env.workers as there are worlds, and --train.eval-episodes 1",
    )


def normalizes_inside(evidence: Evidence) -> Symptom | None:
    """A wrapper of the world normalizes by statistics of its own."""
    if not evidence.normalizers:
        return None
    first, *others = dict.fromkeys(evidence.normalizers)
    return Symptom(
        WARNING,
        "the world normalizes by itself",
        " and ".join(one.wrapper for one in (first, *others)),
        "; ".join(map(consequence, (first, *others))),
        "; ".join(map(instead, (first, *others))),
    )


def ends_at_once(evidence: Evidence) -> Symptom | None:
    """Every episode has one step."""
    lengths, _ = evidence.walk.episodes()
    if len(lengths) < 3 or max(lengths) > 1:
        return None
    return Symptom(
        WARNING,
        "every episode ends at once",
        f"{len(lengths):,} episodes of one step",
        "no action has a consequence to be learned but its reward",
        "look at the condition that ends an episode, and at the state that reset leaves",
    )


def limit_as_termination(evidence: Evidence) -> Symptom | None:
    """A time limit is told as a termination."""
    lengths, _ = evidence.walk.episodes()
    seen = evidence.walk
    both = sum(map(bool, np.logical_and(seen.terminated, seen.truncated)))
    always_both = both > 0 and both == sum(seen.truncated)
    alike = len(lengths) >= 3 and len(set(lengths)) == 1 and lengths[0] > 1
    if not (always_both or (alike and sum(seen.terminated) == len(lengths))):
        return None
    return Symptom(
        WARNING,
        "a time limit is told as a termination",
        f"{both:,} episodes were terminated and truncated at once"
        if always_both
        else f"all {len(lengths):,} episodes were terminated after {lengths[0]:,} steps",
        "a termination says that nothing follows; where only the time is up, the value of what "
        "would follow is lost",
        "return terminated=False, truncated=True when the time is up, or leave the limit to "
        "--env.episode-length",
    )


def constant_reward(evidence: Evidence) -> Symptom | None:
    """Every reward is the same."""
    rewards = evidence.walk.rewards
    if len(rewards) < 100 or len(set(rewards)) > 1:
        return None
    return Symptom(
        WARNING,
        "the reward is constant",
        f"all {len(rewards):,} rewards were {rewards[0]:zg}",
        "random actions find nothing to learn from; with a sparse reward that may be so for long",
        "a reward that says when something is better, --explore.noise ou, or "
        "--explore.parameter-distance 0.2 and more --explore.start-steps",
    )


def reward_scale(evidence: Evidence) -> Symptom | None:
    """Rewards are huge, or tiny."""
    rewards = np.array(evidence.walk.rewards)
    size = float(np.sqrt(np.square(rewards).mean())) if len(rewards) else 0.0
    if size == 0 or 0.005 <= size <= 50:
        return None
    if size > 50 and abs(rewards.mean()) > 10 * rewards.std() > 0:
        return Symptom(
            WARNING,
            "rewards have an offset",
            f"they are {rewards.mean():.4g} on average, and differ by {rewards.std():.3g}",
            "values are sums of what rewards share, and what an action changes is lost in them; a "
            "smaller scale makes it smaller still",
            f"take {rewards.mean():.2g} from every reward, if episodes are of one length (where "
            "they end early, living is worth less then)",
        )
    scale = 10.0 ** -round(math.log10(size))
    return Symptom(
        WARNING,
        "rewards are huge" if size > 50 else "rewards are tiny",
        f"the root of their mean square is {size:.3g}",
        "values are sums of rewards: networks and learning rates are made for values of about 1 to "
        "100",
        f"--env.reward-scale {scale:g}, or --env.normalize-rewards",
    )


def outside_of_the_space(evidence: Evidence) -> Symptom | None:
    """Observations lie beyond the bounds that the space declares."""
    obs = evidence.all_obs
    low, high = bounds_of_numbers(evidence.space, evidence.spaces.parts)
    slack = 1e-5 * (1 + np.abs(obs))
    out = (obs < low - slack) | (obs > high + slack)
    if not out.any():
        return None
    row, position = map(int, np.argwhere(out)[0])
    return Symptom(
        WARNING,
        "observations outside of their space",
        f"{place(evidence.spaces.parts, position)} was {obs[row, position]:zg}, and the space says "
        f"{low[position]:zg} to {high[position]:zg}; {out.any(axis=1).mean():.0%} of the "
        "observations",
        "qmu does not rely on these bounds, but something is not as it was meant",
        "correct the observation or its space",
    )


def endless(evidence: Evidence) -> Symptom | None:
    """Nothing limits an episode."""
    seen = evidence.walk
    if evidence.longest is not None or any(seen.truncated) or not seen.rewards:
        return None
    ended = any(seen.terminated)
    return Symptom(
        HINT if ended else WARNING,
        "no time limit",
        f"no time limit is declared, and in {len(seen.rewards):,} steps "
        + ("episodes only ended by a termination" if ended else "no episode ended"),
        "an episode may go on for ever: few starts are seen, and an evaluation cuts it "
        "off after 10,000 steps",
        "--env.episode-length 1000",
    )


def action_bounds(evidence: Evidence) -> Symptom | None:
    """Bounds of actions are huge, or not around 0."""
    low, high = evidence.spaces.low, evidence.spaces.high
    meaning = (
        "actions and their noise are shares of the range between the bounds: -1 is the lower one, "
        "0 the middle, 1 the upper one"
    )
    if max(np.abs(low).max(), np.abs(high).max()) > 1000:
        return Symptom(
            WARNING,
            "action bounds are huge",
            f"they are {low.min():zg} to {high.max():zg}",
            meaning,
            "bounds that the world can make use of, as gymnasium.wrappers.RescaleAction gives it",
        )
    if (low == high).any():
        return Symptom(
            HINT,
            "an action without a range",
            f"action {int(np.flatnonzero(low == high)[0])} can only be {low[low == high][0]:zg}",
            "the policy learns a number that changes nothing",
            "leave it out of the action space",
        )
    if np.abs(low + high).max() > 0.01 * (high - low).max():
        return Symptom(
            HINT,
            "action bounds are not around 0",
            f"they are {low.min():zg} to {high.max():zg}",
            meaning,
            "nothing, if the middle is a sensible action to begin with; else other bounds",
        )
    return None


def observation_scales(evidence: Evidence) -> Symptom | None:
    """Numbers of an observation have very different sizes, or all are far from 1."""
    obs = evidence.all_obs.astype(np.float64)
    spread = obs.std(axis=0) if len(obs) >= 100 and obs.size else np.zeros(1)
    if spread.max() == 0:
        return None
    # What hardly moves beside the others is not heard, whatever else there is.
    alive = spread[spread > min(1e-3, 0.1 * spread.max())]
    largest = float(np.abs(obs).max())
    meaning = "networks are made for numbers of about 1, around 0"
    if alive.max() > 300 * alive.min():
        level, name = HINT, "observations of very different sizes"
        meaning = "the network hears the large ones, and the small ones late"
    elif largest > 100:
        level, name = WARNING if largest > 1000 else HINT, "observations are large"
    elif alive.max() < 0.05:
        level, name = WARNING, "observations are tiny"
    else:
        return None
    return Symptom(
        level,
        name,
        f"their standard deviations are {alive.min():.3g} to {alive.max():.3g}, the largest number "
        f"{largest:.3g}",
        meaning,
        "--env.normalize-obs",
    )


def constant_observations(evidence: Evidence) -> Symptom | None:
    """Numbers of an observation never change."""
    obs = evidence.all_obs
    if len(obs) < 100:
        return None
    still = np.flatnonzero((obs == obs[0]).all(axis=0))
    if not len(still):
        return None
    some = ", ".join(map(str, still[:8])) + (", ..." if len(still) > 8 else "")
    return Symptom(
        HINT,
        "parts of the observation never change",
        f"{len(still)} of {obs.shape[1]} numbers were constant: {some}",
        "they are inputs that say nothing, unless it takes more than random actions to change them",
        "leave them out, or nothing",
    )


def still_images(evidence: Evidence) -> Symptom | None:
    """An image is the same in all observations."""
    rows, layout = evidence.all_rows, evidence.spaces.layout
    if len(rows) < 100:
        return None
    images = [part for part in evidence.spaces.parts if part.image]
    still = [
        part.name
        for part, place in zip(images, layout.places, strict=True)
        if (rows[:, place] == rows[0, place]).all()
    ]
    if not still:
        return None
    return Symptom(
        WARNING,
        "an image never changes",
        f"{' and '.join(still)} was the same in all {len(rows):,} observations",
        "there is nothing to see: a renderer draws nothing, or the camera looks elsewhere",
        "look at it: qmu play of a run shows what the policy sees; another --env.camera",
    )


def images_as_numbers(evidence: Evidence) -> Symptom | None:
    """Something has the shape of an image in colours, and is not of bytes from 0 to 255."""
    found = [
        f"{Part(path, ()).name} is of {space.dtype}{list(space.shape)}"
        for path, space in leaves(evidence.space)
        if isinstance(space, gym.spaces.Box) and not of_bytes(space) and in_colours(space.shape)
    ]
    if not found:
        return None
    return Symptom(
        WARNING,
        "what looks like an image is taken for numbers",
        "; ".join(found),
        "every pixel is an input of its own, of four bytes: no convolution sees it, and what was "
        "learned of one place is unknown at the next",
        "return uint8 from 0 to 255, such as (255 * image).astype(np.uint8), and declare it in the "
        "space; or nothing, if it is none",
    )


def in_colours(shape: tuple[int, ...]) -> bool:
    """Tell whether this is the shape of an image in colours."""
    return len(shape) == 3 and bool({shape[0], shape[2]} & {3, 4}) and bool(axes_of(shape))


def starts_alike(evidence: Evidence) -> Symptom | None:
    """Every episode begins with the same observation."""
    starts = evidence.starts
    if len(starts) < 2 or any((one != starts[0]).any() for one in starts):
        return None
    return Symptom(
        HINT,
        "every episode begins alike",
        f"{len(starts)} seeds gave the same first observation",
        "what is learned may hold for this start only, and all episodes of an evaluation are one",
        "a random start, drawn from self.np_random in reset",
    )


def reused_array(evidence: Evidence) -> Symptom | None:
    """The world returns one array again and again."""
    if not evidence.walk.reused:
        return None
    return Symptom(
        HINT,
        "the same array is returned at every step",
        f"in {evidence.walk.reused:,} of {len(evidence.walk.rewards):,} steps",
        "qmu copies it, but wrappers and other libraries that keep it see it change",
        "return a new array, such as obs.copy()",
    )


def other_types(evidence: Evidence) -> Symptom | None:
    """Observations have another type than is declared."""
    found = []
    for path, space in leaves(evidence.space):
        name = ".".join(map(str, path))
        kinds = sorted(evidence.walk.kinds.get(name, ()))
        if not all(is_declared(space, kind) for kind in kinds):
            are = f"{name} is" if name else "they are"
            found.append(f"{are} {', '.join(kinds)}, and the space says {space.dtype}")
    if not found:
        return None
    return Symptom(
        HINT,
        "observations of another type than declared",
        "; ".join(found),
        "qmu reads them as float32, but other libraries may stumble, or cut digits off",
        "return NumPy arrays of what the space says, or declare another dtype",
    )


def is_declared(space: gym.Space[Any], kind: str) -> bool:
    """Tell whether a space says that numbers are of this type; choices are whole numbers."""
    if isinstance(space, gym.spaces.Box):
        return kind == str(space.dtype)
    return "int" in kind or "bool" in kind


def other_shapes(evidence: Evidence) -> Symptom | None:
    """A part has more or fewer axes of length one than is declared."""
    found = [
        f"{part.name} has the shape {others[0]}, and the space says {part.shape}"
        for part in evidence.spaces.parts
        if (others := sorted(evidence.walk.shapes.get(part.name, set()) - {part.shape}))
    ]
    if not found:
        return None
    return Symptom(
        HINT,
        "parts of another shape than declared",
        "; ".join(found),
        "qmu takes them for what the space says, but other libraries may stumble",
        "return them in these shapes, or declare the others",
    )


def other_parts(evidence: Evidence) -> Symptom | None:
    """An observation has parts that its space lacks."""
    if not evidence.walk.unknown:
        return None
    return Symptom(
        WARNING,
        "parts that the space lacks",
        f"observations hold {', '.join(sorted(evidence.walk.unknown))}, too",
        "they are left out: nothing is learned from them",
        "declare them in the observation space, or leave them out of what is observed",
    )


def other_infos(evidence: Evidence) -> Symptom | None:
    """What comes with an observation is no dictionary."""
    if not evidence.walk.other_infos:
        return None
    return Symptom(
        HINT,
        "info is no dictionary",
        " and ".join(sorted(evidence.walk.other_infos)),
        "qmu does not read it, but wrappers of Gymnasium do",
        "return {}",
    )


def begins_anew_by_itself(evidence: Evidence) -> Symptom | None:
    """The simulation breaks down and begins anew inside of a step."""
    broken, steps = evidence.walk.broken, len(evidence.walk.rewards)
    if not broken:
        return None
    causes = ", ".join(dict.fromkeys(cause for _, cause in broken))
    return Symptom(
        WARNING,
        "the simulation begins anew by itself",
        f"inside of {len(broken):,} of {steps:,} steps, first of step {broken[0][0]}: {causes}",
        "such a step leads from a state that has broken down to a start, and is stored and learned "
        "from as if the action had led there",
        BREAKS_DOWN,
    )


def warned_of(evidence: Evidence) -> Symptom | None:
    """MuJoCo has warned of what the world does."""
    if not evidence.said:
        return None
    return Symptom(
        WARNING,
        "MuJoCo warns",
        " | ".join(evidence.said),
        "the simulation breaks down or is cut short, and rows of that teach what is not so",
        BREAKS_DOWN,
    )


def slow(evidence: Evidence) -> Symptom | None:
    """A step takes longer than an update."""
    # The median: what else the machine does is not the world's.
    each = float(np.median(evidence.walk.seconds or [0.0]))
    if each < 2 * UPDATE_SECONDS:
        return None
    return Symptom(
        HINT,
        "steps are slow",
        f"a step takes {1000 * each:.3g} ms, which is {each * 1e6 / 3600:.3g} hours for a million",
        f"an update of the default recipe takes about {1000 * UPDATE_SECONDS:.2g} ms on two cores: "
        "the world sets the pace",
        "a coarser simulation; more of each step, --train.updates-per-step 2; or several worlds "
        "that take their steps side by side, --env.count 2 --env.workers 2",
    )


RULES: tuple[Rule, ...] = (
    fails,
    shared_state,
    normalizes_inside,
    begins_anew_by_itself,
    warned_of,
    ends_at_once,
    resets_itself,
    constant_reward,
    limit_as_termination,
    reward_scale,
    not_deterministic,
    action_bounds,
    endless,
    outside_of_the_space,
    images_as_numbers,
    still_images,
    observation_scales,
    slow,
    starts_alike,
    constant_observations,
    other_types,
    other_shapes,
    other_parts,
    other_infos,
    reused_array,
)
