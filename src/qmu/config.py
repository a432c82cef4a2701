"""Every option exactly once: its default, its unit, its one line of help, its check.

`numeric` options are numbers that the compiled program takes as inputs: changing one never
recompiles, and members of a run may differ in them. `structural` options shape the program.
"""

import dataclasses
import difflib
import math
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_type_hints

from qmu.errors import ConfigError

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


def from_dict(values: Mapping[str, Any]) -> Config:
    """Return the checked configuration of a nested mapping: group -> option -> value.

    Raises:
        ConfigError: an unknown group or option (with the nearest names), a wrong type, a value
            out of its range, or options that contradict each other.
    """
    groups = {}
    for group, given in values.items():
        if group not in GROUPS:
            raise ConfigError(f"unknown group of options {group!r}{nearest(group, GROUPS)}")
        if not isinstance(given, Mapping):
            raise ConfigError(
                f"{group} is a group of options: give a dictionary such as "
                f"{group}={{{dataclasses.fields(GROUPS[group])[0].name!r}: ...}}, not {given!r}"
            )
        groups[group] = read_group(group, given)
    config = Config(**groups)
    check(config)
    return config


def read_group(group: str, given: Mapping[str, Any]) -> Any:
    """Return the group's record with the given values, converted to the declared types."""
    record = GROUPS[group]
    kinds = get_type_hints(record)
    for name in given:
        if name not in kinds:
            everywhere = {f"{other}.{option.name}": option.name for other, option in options()}
            homes = [path for path, option in everywhere.items() if option == name]
            hint = f"; there is {' and '.join(homes)}" if homes else nearest(name, kinds)
            raise ConfigError(f"unknown option {group}.{name}{hint}")
    return record(**{name: convert(group, name, given[name], kinds[name]) for name in given})


def convert(group: str, name: str, value: Any, kind: Any) -> Any:
    """Return the value as the declared type, or say what was expected."""
    allowed = get_args(kind) if type(None) in get_args(kind) else (kind,)
    if value is None and type(None) in allowed:
        return None
    wanted = allowed[0]
    if wanted is bool and isinstance(value, bool):
        return value
    if wanted is str and isinstance(value, str | Path):
        return str(value)
    if wanted is int and is_number(value) and math.isfinite(value) and int(value) == value:
        return int(value)
    if wanted is float and is_number(value):
        return float(value)
    if wanted == tuple[int, ...] and isinstance(value, list | tuple):
        return tuple(convert(group, name, size, int) for size in value)
    words = {
        bool: "true or false",
        str: "a text",
        int: "a whole number",
        float: "a number",
        tuple[int, ...]: "a list of whole numbers",
    }
    raise ConfigError(f"{flag(group, name)}: {value!r} is not {words[wanted]}")


def is_number(value: Any) -> bool:
    """Tell whether the value is a number (NumPy's included), and not a truth value."""
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        return False
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def nearest(word: str, known: Any) -> str:
    """Return '; did you mean ...?' with the nearest known words, or all of them."""
    close = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; there are {', '.join(known)}"


def check(config: Config) -> None:
    """Raise ConfigError for a value out of its range or options that contradict each other."""
    for group, option in options():
        value = getattr(getattr(config, group), option.name)
        rule = option.metadata["rule"]
        if value is None or rule is None:
            continue
        holds, sentence = rule
        if (isinstance(value, float) and not math.isfinite(value)) or not holds(value):
            raise ConfigError(f"{flag(group, option.name)} {sentence}, not {value}")
    check_together(config)


def check_together(config: Config) -> None:
    """Raise ConfigError where two options contradict each other."""
    replay, train = config.replay, config.train
    if replay.batch_size > replay.capacity:
        raise ConfigError(
            f"--replay.batch-size {replay.batch_size} is larger than --replay.capacity "
            f"{replay.capacity}: lower the one or raise the other"
        )
    if replay.capacity < 2 * config.env.count:
        raise ConfigError(
            f"--replay.capacity {replay.capacity} is too small for --env.count "
            f"{config.env.count}: every world needs at least 2 rows"
        )
    steps = total_steps(config)
    if start_steps(config) > steps:
        raise ConfigError(
            f"--explore.start-steps {start_steps(config)} lies beyond --train.total-steps "
            f"{steps}: the policy would never act; lower the one or raise the other"
        )
    if train.updates_per_step > 0 and learn_after(config) >= steps:
        raise ConfigError(
            f"learning begins after step {learn_after(config)} (--train.learn-after, or the larger "
            f"of --explore.start-steps and --replay.batch-size), and --train.total-steps is "
            f"{steps}: nothing would be learned; lower the one or raise the other"
        )
    if train.seed + train.seeds > 2**31:
        raise ConfigError(
            f"--seed {train.seed} with --seeds {train.seeds} goes beyond 2^31: lower the seed"
        )


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


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the nested dictionary `base` with the options in `changes` replaced."""
    merged = dict(base)
    for group, values in changes.items():
        before = merged.get(group, {})
        if not isinstance(before, Mapping):
            continue  # no group of options: `from_dict` says so
        merged[group] = {**before, **values} if isinstance(values, Mapping) else values
    return merged


def read_toml(path: Path) -> dict[str, Any]:
    """Return the nested dictionary in a TOML file.

    Raises:
        ConfigError: the file is not there, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a TOML file: {error}") from None
