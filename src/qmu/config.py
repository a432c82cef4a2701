"""Every option exactly once: its default, its unit, its one line of help, its check.

`numeric` options are numbers that the compiled program takes as inputs: changing one never
recompiles, and members of a run may differ in them. `structural` options shape the program.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from qmu.tables import Table
from qmu.workers import HERE, Workers

Rule = tuple[Callable[[Any], bool], str]

POSITIVE: Rule = (lambda value: value > 0, "must be greater than 0")
NOT_NEGATIVE: Rule = (lambda value: value >= 0, "must be 0 or greater")
FRACTION: Rule = (lambda value: 0 <= value <= 1, "must lie in [0, 1]")
PART: Rule = (lambda value: 0 <= value < 1, "must lie in [0, 1)")
WIDTH: Rule = (lambda value: 0 < value <= 2, "must lie in (0, 2]")
SHARE: Rule = (lambda value: 0 < value <= 1, "must lie in (0, 1]")
WORKERS: Rule = (
    lambda workers: workers.number >= int(workers.on_ray),
    "must be 0 or greater, or ray:N with an N of 1 or greater",
)
UP_TO_1000: Rule = (lambda value: 0 < value <= 1000, "must lie in [1, 1000]")
NOTICEABLE: Rule = (lambda value: value >= 0.001, "must be 0.001 or greater")
FINITE: Rule = (lambda value: True, "must be a finite number")
ZERO_OR_ONE: Rule = (lambda value: value in (0, 1), "must be 0 or 1")
SIZES: Rule = (lambda sizes: all(size > 0 for size in sizes), "must all be greater than 0")
SEED: Rule = (lambda value: 0 <= value < 2**31, "must lie in [0, 2^31)")
FILE_NAME: Rule = (
    lambda name: name != "" and not set(name) & set('/\\:*?"<>|\0') and not name.startswith("."),
    "must be usable as a part of a folder's name",
)
PROJECT: Rule = (
    lambda name: 0 < len(name) <= 128 and not set(name) & set("/\\#?%:\0"),
    "must have 1 to 128 characters, none of / \\ # ? % :",
)
NOT_EMPTY: Rule = (lambda value: value != "", "must not be empty")
# What `gymnasium.make` takes besides an environment's own keywords, and qmu says itself.
SET_BY_QMU = {
    "id",
    "render_mode",
    "max_episode_steps",
    "disable_env_checker",
    "num_envs",
    "vectorization_mode",
    "vector_kwargs",
    "autoreset_mode",
}
KEYWORDS: Rule = (
    lambda table: not SET_BY_QMU & set(table.values()),
    "must leave to qmu what qmu sets by options of its own: the time limit, the number of worlds, "
    "the window, the environment checker",
)
DOTTED: Rule = (
    lambda names: (
        all(all(part.isidentifier() for part in name.split(".")) for name in names)
        and all("." in name for name in names)
    ),
    "must hold names such as package.module.Wrapper",
)


def one_of(*names: str) -> Rule:
    """Return the rule that a value is one of these names."""
    return (lambda value: value in names, f"must be one of {', '.join(names)}")


NORM = one_of("none", "layer", "batch")
NORM_HELP = "normalization of the hidden layers: none, layer or batch"
ACTIVATION = one_of("relu", "leaky_relu", "elu", "silu", "tanh")


def numeric(default: float | None, *, help: str, rule: Rule) -> Any:
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
    workers: Workers = structural(
        Workers("0"),
        help="processes that step the run's worlds, for slow simulators: N, or ray:N on a cluster; "
        "0: its own",
        rule=WORKERS,
    )
    cluster: str = structural(
        HERE,
        help="where workers ray:N are: ray (this machine), ray://HOST:PORT, or ray://auto (the "
        "cluster here)",
        rule=NOT_EMPTY,
    )
    episode_length: int | None = structural(
        None, help="time limit of an episode, in steps; none: the environment's own", rule=POSITIVE
    )
    kwargs: Table | None = structural(
        None,
        help="the environment's keyword arguments, as TOML: '{frame_skip = 4}'; none: its own",
        rule=KEYWORDS,
    )
    wrappers: tuple[str, ...] = structural(
        (),
        help="Gymnasium wrappers by dotted name, the innermost first; files only record them",
        rule=DOTTED,
    )
    normalize_obs: bool = structural(
        False, help="observations to mean 0 and variance 1, by what the member has seen"
    )
    obs_clip: float = numeric(5.0, help="largest size of a normalized observation", rule=POSITIVE)
    reward_scale: float = numeric(
        1.0, help="what rewards are multiplied with where they are learned from", rule=POSITIVE
    )
    on_error: str = structural(
        "stop",
        help="when a world fails: stop, or restart: replace it, and end its episode there",
        rule=one_of("stop", "restart"),
    )
    step_timeout: float | None = structural(
        None,
        help="seconds that a step or reset of a world may take; none: no limit",
        rule=NOTICEABLE,
    )
    render: bool = structural(False, help="show the first member's evaluations in a window")


@dataclass(frozen=True)
class Network:
    """What actor and critics have in common."""

    lr: float = numeric(1e-3, help="learning rate at the first update", rule=NOT_NEGATIVE)
    lr_end: float = numeric(
        0.0,
        help="share of lr that is left at train.schedule-steps, reached linearly; 1: constant",
        rule=FRACTION,
    )
    optimizer: str = structural(
        "adam", help="adam, adamw, or sgd", rule=one_of("adam", "adamw", "sgd")
    )
    momentum: float | None = numeric(
        None, help="share of sgd's last step that is taken again; none: no momentum", rule=PART
    )
    weight_decay: float | None = numeric(
        None,
        help="share of the weights that a step at a learning rate of 1 takes away (adamw, sgd)",
        rule=NOT_NEGATIVE,
    )
    clip_norm: float | None = numeric(
        None, help="longest gradient, by its Euclidean norm; none: as it is", rule=POSITIVE
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
    interval: int = structural(
        1, help="updates of the critics per update of the actor", rule=POSITIVE
    )
    climbs: str = structural(
        "first",
        help="which of the critics' values the actor climbs: first, mean or min",
        rule=one_of("first", "mean", "min"),
    )


@dataclass(frozen=True)
class Critic(Network):
    """The value networks Q and their optimizer."""

    norm: str = structural("layer", help=NORM_HELP, rule=NORM)
    count: int = structural(1, help="critics, each with weights of its own", rule=POSITIVE)
    bootstrap: str = structural(
        "min",
        help="what of the target critics' values is bootstrapped from: min or mean",
        rule=one_of("min", "mean"),
    )
    subset: int | None = structural(
        None,
        help="target critics, drawn anew for every update, that are asked; none: all",
        rule=POSITIVE,
    )
    batches: str = structural(
        "shared",
        help="what each critic learns from: the shared batch, its own batch, or its own regions",
        rule=one_of("shared", "own", "regions"),
    )
    action_layer: int = structural(
        0,
        help="layer that the action enters: 0, beside the observation, or 1, one layer later",
        rule=ZERO_OR_ONE,
    )
    l2: float | None = numeric(
        None, help="weight, in the critics' loss, of their squared weights", rule=NOT_NEGATIVE
    )


@dataclass(frozen=True)
class Target:
    """The target networks: what they follow and how fast, and what is discounted."""

    tau: float = numeric(
        0.005, help="share of the online weights taken over per soft update", rule=SHARE
    )
    interval: int = structural(1, help="updates between two soft updates", rule=POSITIVE)
    gamma: float = numeric(0.99, help="discount per step", rule=FRACTION)
    smoothing: str = structural(
        "action",
        help="noise on: each next action, those of a batch alike (shared), the actor's weights",
        rule=one_of("action", "shared", "weights"),
    )
    smoothing_std: float | None = numeric(
        0.2,
        help="smoothing noise, in half action ranges (weights: share of their size); none: off",
        rule=NOT_NEGATIVE,
    )
    smoothing_clip: float | None = numeric(
        None, help="largest smoothing noise of an action, in half action ranges", rule=POSITIVE
    )


@dataclass(frozen=True)
class Explore:
    """What is done to actions while rows are collected."""

    start_steps: int | None = structural(
        None,
        help="first steps with random actions; none: 5% of train.schedule-steps, at most 10000",
        rule=NOT_NEGATIVE,
    )
    noise: str = structural(
        "normal",
        help="noise on actions: normal, ou (Ornstein-Uhlenbeck), or none",
        rule=one_of("normal", "ou", "none"),
    )
    mean: float = numeric(0.0, help="mean of the action noise, in half action ranges", rule=FINITE)
    std: float = numeric(
        0.2,
        help="standard deviation of the action noise (ou: of its pushes), in half action ranges",
        rule=NOT_NEGATIVE,
    )
    ou_theta: float = numeric(
        0.15, help="pull of the ou noise back to its mean, per unit of its time", rule=NOT_NEGATIVE
    )
    ou_dt: float = numeric(
        0.01, help="the ou noise's time per step: it forgets in 1 / (theta dt) steps", rule=POSITIVE
    )
    parameter_distance: float | None = numeric(
        None,
        help="parameter noise: wanted change of actions, in half action ranges; none: off",
        rule=WIDTH,
    )
    noise_end: float = numeric(
        1.0,
        help="share of std and parameter-distance left at train.schedule-steps, linearly",
        rule=FRACTION,
    )
    epsilon: float = numeric(
        0.0, help="share of steps whose action is uniformly random", rule=FRACTION
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
        3, help="steps of reward before the target bootstraps; 1: a transition", rule=UP_TO_1000
    )
    prioritized: bool = structural(
        False, help="draw transitions by their last TD error, instead of uniformly"
    )
    alpha: float = numeric(
        0.6, help="power of the TD error that a priority is; 0: uniform", rule=FRACTION
    )
    beta: float = numeric(
        0.4, help="power of the weights that make up for priorities, at first", rule=FRACTION
    )
    beta_end: float = numeric(
        1.0, help="what beta has become, linearly, at train.schedule-steps", rule=FRACTION
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
    schedule_steps: int | None = structural(
        None,
        help="steps in which learning rates, noise and beta reach their ends; none: total-steps",
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
        help="steps between two checkpoints, at which episodes are cut off; 0: only at the end",
        rule=NOT_NEGATIVE,
    )
    keep_checkpoints: int = structural(
        3, help="newest checkpoints that are kept; of older ones, the policies", rule=POSITIVE
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
    video_interval: int = structural(
        0,
        help="steps between two videos, of each arm's first seed, at evaluations; 0: none",
        rule=NOT_NEGATIVE,
    )
    wandb: str = structural(
        "disabled",
        help="Weights & Biases: online, offline (kept in the run's folder), or disabled",
        rule=one_of("online", "offline", "disabled"),
    )
    wandb_project: str = structural(
        "qmu", help="project that the runs of Weights & Biases belong to", rule=PROJECT
    )
    wandb_runs: str = structural(
        "member",
        help="runs of Weights & Biases: one per member, or one for all of them",
        rule=one_of("member", "one"),
    )


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
# How None is spelled where there is no word for it.
NONE = "none"


# Paths of the options that whoever is at work takes without their group.
BARE: ContextVar[frozenset[str]] = ContextVar("BARE", default=frozenset())


def flag(group: str, name: str) -> str:
    """Return the option's spelling on the command line: --group.some-name, or --some-name."""
    path = f"{group}.{name}"
    return f"--{(name if path in BARE.get() else path).replace('_', '-')}"


@contextmanager
def without_group(*paths: str) -> Iterator[None]:
    """Spell these options as a command takes them that has no groups, until it is left."""
    token = BARE.set(frozenset(paths))
    try:
        yield
    finally:
        BARE.reset(token)


def options() -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    """Yield (group, field) of every option."""
    for group, record in GROUPS.items():
        for option in dataclasses.fields(record):
            yield group, option


def shapes(option: dataclasses.Field[Any]) -> bool:
    """Tell whether an option shapes the program: members of a run cannot differ in it."""
    return bool(option.metadata["kind"] == "structural")


def total_steps(config: Config) -> int:
    """Return the number of steps after which a run ends at the latest."""
    if config.train.total_steps is not None:
        return config.train.total_steps
    return 100_000 if config.train.total_episodes is None else UNLIMITED_STEPS


def schedule_steps(config: Config) -> int | None:
    """Return the number of steps after which what changes with time has reached its end."""
    if config.train.schedule_steps is not None:
        return config.train.schedule_steps
    return config.train.total_steps


def planned_updates(config: Config) -> float:
    """Return the number of a member's updates in the schedule; infinite without one."""
    steps = schedule_steps(config)
    if steps is None:
        return math.inf
    return config.train.updates_per_step * (steps - learn_after(config))


def start_steps(config: Config) -> int:
    """Return the number of a member's first steps whose actions are random.

    Without a planned end, as in a `qmu.DDPG` or with a number of episodes, they are 1,000.
    """
    if config.explore.start_steps is not None:
        return config.explore.start_steps
    steps = schedule_steps(config)
    return 1_000 if steps is None else min(steps // 20, 10_000)


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
    """Return the nested dictionary that `configure.from_dict` reads, as a TOML file can hold it.

    TOML knows no None: an option that is None is left out, or `none` where that is not its default.
    """
    return {
        group: {
            option.name: as_toml(value)
            for option in dataclasses.fields(record)
            for value in [getattr(getattr(config, group), option.name)]
            if value is not None or option.default is not None
        }
        for group, record in GROUPS.items()
    }


def as_toml(value: Any) -> Any:
    """Return an option's value as a TOML file holds it."""
    if value is None:
        return NONE
    if isinstance(value, Table):
        return value.values()
    if isinstance(value, Workers):
        return str(value) if value.on_ray else value.number
    return list(value) if isinstance(value, tuple) else value
