"""Every option exactly once: its default, its unit, its one line of help, its check.

`numeric` options are numbers that the compiled program takes as inputs: changing one never
recompiles, and members of a run may differ in them. `structural` options shape the program.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

Rule = tuple[Callable[[Any], bool], str]

POSITIVE: Rule = (lambda value: value > 0, "must be greater than 0")
NOT_NEGATIVE: Rule = (lambda value: value >= 0, "must be 0 or greater")
FRACTION: Rule = (lambda value: 0 <= value <= 1, "must lie in [0, 1]")
SHARE: Rule = (lambda value: 0 < value <= 1, "must lie in (0, 1]")
FINITE: Rule = (lambda value: True, "must be a finite number")
SIZES: Rule = (lambda sizes: all(size > 0 for size in sizes), "must all be greater than 0")
SEED: Rule = (lambda value: 0 <= value < 2**31, "must lie in [0, 2^31)")
FILE_NAME: Rule = (
    lambda name: name != "" and not set(name) & set('/\\:*?"<>|\0') and not name.startswith("."),
    "must be usable as a part of a folder's name",
)
NOT_EMPTY: Rule = (lambda value: value != "", "must not be empty")


def one_of(*names: str) -> Rule:
    """Return the rule that a value is one of these names."""
    return (lambda value: value in names, f"must be one of {', '.join(names)}")


NORM = one_of("none", "layer")
NORM_HELP = "normalization of the hidden layers: none, or layer"
ACTIVATION = one_of("relu", "leaky_relu", "elu", "silu", "tanh")


def numeric(default: float, *, help: str, rule: Rule) -> Any:
    """Declare an option that is a traced number: it may differ per member, never recompiles."""
    return field(default=default, metadata={"kind": "numeric", "help": help, "rule": rule})


def structural(default: Any, *, help: str, rule: Rule | None = None) -> Any:
    """Declare an option that shapes the program or its surroundings; one value for all members."""
    return field(default=default, metadata={"kind": "structural", "help": help, "rule": rule})


@dataclass(frozen=True)
class Env:
    """The world: which, how many, how long an episode."""

    id: str | None = structural(None, help="the environment's id, such as Pendulum-v1")
    count: int = structural(1, help="worlds per member, stepped together", rule=POSITIVE)
    episode_length: int | None = structural(
        None, help="time limit of an episode, in steps; none: the environment's own", rule=POSITIVE
    )
    render: bool = structural(False, help="show the first member's evaluations in a window")


@dataclass(frozen=True)
class Network:
    """What actor and critics have in common."""

    lr: float = numeric(1e-3, help="learning rate of Adam, at the first update", rule=NOT_NEGATIVE)
    lr_end: float = numeric(
        0.0,
        help="share of lr that is left at train.total_steps, reached linearly; 1: lr is constant",
        rule=FRACTION,
    )
    hidden_sizes: tuple[int, ...] = structural(
        (256, 256), help="units of each hidden layer", rule=SIZES
    )
    activation: str = structural(
        "relu", help="relu, leaky_relu, elu, silu or tanh", rule=ACTIVATION
    )
    norm: str = structural("none", help=NORM_HELP, rule=NORM)
    weights_init: str = structural(
        "uniform",
        help="xavier, or uniform: ±1/sqrt(fan-in)",
        rule=one_of("xavier", "uniform"),
    )
    bias_init: str = structural(
        "uniform", help="zeros, or uniform: ±1/sqrt(fan-in)", rule=one_of("zeros", "uniform")
    )
    final_range: float | None = structural(
        None,
        help="final layer drawn from ± this (paper: 3e-3); none: like the other layers",
        rule=POSITIVE,
    )


@dataclass(frozen=True)
class Actor(Network):
    """The policy network μ and its optimizer."""

    preactivation_penalty: float = numeric(
        0.01,
        help="weight, in the actor's loss, of the squared input of its final tanh",
        rule=NOT_NEGATIVE,
    )


@dataclass(frozen=True)
class Critic(Network):
    """The value networks Q and their optimizer."""

    norm: str = structural("layer", help=NORM_HELP, rule=NORM)
    count: int = structural(
        1, help="critics; the smallest of their values is bootstrapped from", rule=POSITIVE
    )


@dataclass(frozen=True)
class Target:
    """The target networks: what they follow and how fast, and what is discounted."""

    tau: float = numeric(
        0.005, help="share of the online weights taken over per soft update", rule=SHARE
    )
    interval: int = structural(1, help="updates between two soft updates", rule=POSITIVE)
    gamma: float = numeric(0.99, help="discount per step", rule=FRACTION)


@dataclass(frozen=True)
class Explore:
    """What is done to actions while rows are collected."""

    start_steps: int | None = structural(
        None,
        help="first steps with uniformly random actions; none: 5% of total-steps, at most 10000",
        rule=NOT_NEGATIVE,
    )
    mean: float = numeric(
        0.0, help="mean of the normal action noise, in half action ranges", rule=FINITE
    )
    std: float = numeric(
        0.2,
        help="standard deviation of the normal action noise, in half action ranges",
        rule=NOT_NEGATIVE,
    )


@dataclass(frozen=True)
class Replay:
    """The stream of rows and what is drawn from it."""

    capacity: int = structural(
        1_000_000,
        help="rows kept per member: one per step and one per finished episode",
        rule=POSITIVE,
    )
    batch_size: int = structural(256, help="transitions per update", rule=POSITIVE)
    n_step: int = structural(
        3, help="steps of reward before the target bootstraps; 1: a transition", rule=POSITIVE
    )


@dataclass(frozen=True)
class Train:
    """How long, how often, with which seeds, on what."""

    total_steps: int | None = structural(
        None,
        help="steps of each member; none: 100000, or no limit when total-episodes is set",
        rule=POSITIVE,
    )
    total_episodes: int | None = structural(
        None,
        help="stop when every member has finished this many episodes (checked once per chunk)",
        rule=POSITIVE,
    )
    learn_after: int | None = structural(
        None,
        help="steps before the first update; none: start-steps, or a batch if that is more",
        rule=NOT_NEGATIVE,
    )
    updates_per_step: float = structural(
        1.0, help="updates per step since learning began: 0.25, 1, 4, ...", rule=NOT_NEGATIVE
    )
    chunk: int = structural(
        32, help="steps of every world between two hand-overs to the learner", rule=POSITIVE
    )
    overlap: bool = structural(
        True, help="collect the next chunk while the learner works on this one"
    )
    eval_interval: int = structural(
        5_000, help="steps between two evaluations; 0: only at the end", rule=NOT_NEGATIVE
    )
    eval_episodes: int = structural(10, help="episodes of one evaluation", rule=POSITIVE)
    final_episodes: int = structural(
        30, help="new episodes that the best policies are scored on at the end", rule=POSITIVE
    )
    save_interval: int = structural(
        50_000,
        help="steps between two saves of the policies; 0: only at the end",
        rule=NOT_NEGATIVE,
    )
    seed: int = structural(0, help="seed of the first member", rule=SEED)
    seeds: int = structural(1, help="members: seeds seed, seed+1, ...", rule=POSITIVE)
    device: str = structural(
        "auto",
        help="where to learn: auto, cpu, gpu or tpu",
        rule=one_of("auto", "cpu", "gpu", "tpu"),
    )


@dataclass(frozen=True)
class Log:
    """What is written, where, how often."""

    dir: str = structural("runs", help="folder that holds the runs", rule=NOT_EMPTY)
    name: str = structural("ddpg", help="experiment: the run folder's first part", rule=FILE_NAME)
    interval: int = structural(1_000, help="steps between two lines of metrics", rule=POSITIVE)
    tensorboard: bool = structural(True, help="write TensorBoard event files")


@dataclass(frozen=True)
class Config:
    """All options of a run, in the groups of the house."""

    env: Env = field(default_factory=Env)
    actor: Actor = field(default_factory=Actor)
    critic: Critic = field(default_factory=Critic)
    target: Target = field(default_factory=Target)
    explore: Explore = field(default_factory=Explore)
    replay: Replay = field(default_factory=Replay)
    train: Train = field(default_factory=Train)
    log: Log = field(default_factory=Log)


GROUPS: dict[str, type] = {
    "env": Env,
    "actor": Actor,
    "critic": Critic,
    "target": Target,
    "explore": Explore,
    "replay": Replay,
    "train": Train,
    "log": Log,
}
UNLIMITED_STEPS = 2**62


def flag(group: str, name: str) -> str:
    """Return the option's spelling on the command line: --group.some-name."""
    return f"--{group}.{name.replace('_', '-')}"


def options() -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    """Yield (group, field) of every option."""
    for group, record in GROUPS.items():
        for option in dataclasses.fields(record):
            yield group, option


def total_steps(config: Config) -> int:
    """Return the number of steps after which a run ends at the latest."""
    if config.train.total_steps is not None:
        return config.train.total_steps
    return 100_000 if config.train.total_episodes is None else UNLIMITED_STEPS


def planned_updates(config: Config) -> float:
    """Return the number of a member's updates in `train.total_steps`; infinite without that."""
    if config.train.total_steps is None:
        return math.inf
    return config.train.updates_per_step * (config.train.total_steps - learn_after(config))


def start_steps(config: Config) -> int:
    """Return the number of a member's first steps whose actions are random.

    Without a planned end, as in a `qmu.DDPG` or with a number of episodes, they are 1,000.
    """
    if config.explore.start_steps is not None:
        return config.explore.start_steps
    if config.train.total_steps is None:
        return 1_000
    return min(config.train.total_steps // 20, 10_000)


def learn_after(config: Config) -> int:
    """Return the number of steps of a member before its first update."""
    if config.train.learn_after is not None:
        return config.train.learn_after
    return max(start_steps(config), config.replay.batch_size)


def seeds(config: Config) -> tuple[int, ...]:
    """Return the members' seeds: the first one and those that follow it."""
    return tuple(range(config.train.seed, config.train.seed + config.train.seeds))


def replace(config: Config, group: str, **changes: Any) -> Config:
    """Return the configuration with some options of a group changed."""
    return dataclasses.replace(
        config, **{group: dataclasses.replace(getattr(config, group), **changes)}
    )


def to_dict(config: Config) -> dict[str, dict[str, Any]]:
    """Return the nested dictionary that `from_dict` reads; options that are None are left out."""
    return {
        group: {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(getattr(config, group)).items()
            if value is not None
        }
        for group in GROUPS
    }
