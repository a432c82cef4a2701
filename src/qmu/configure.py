"""From names and values to a checked configuration: what a file, a dictionary or a flag asks for.

Every value is converted to its option's declared type, held against the option's own rule, and
against the other options. What is wrong is said in the words that the user typed.
"""

import dataclasses
import difflib
import math
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

from qmu.config import (
    GROUPS,
    NONE,
    Config,
    Network,
    flag,
    learn_after,
    options,
    schedule_steps,
    shapes,
    start_steps,
    to_dict,
    total_steps,
)
from qmu.errors import ConfigError
from qmu.tables import Table, read_table
from qmu.workers import HERE, Workers, read_workers

# Levels of lists and tables in a file.
DEEPEST = 100


def from_dict(values: Mapping[str, Any]) -> Config:
    """Return the checked configuration of a nested mapping: group -> option -> value.

    Raises:
        ConfigError: as of `read_dict`, or options contradict each other.
    """
    config = read_dict(values)
    check_together(config)
    return config


def read_dict(values: Mapping[str, Any]) -> Config:
    """Return the configuration of a part of what is given: contradictions may still be resolved.

    Raises:
        ConfigError: an unknown group or option (with the nearest names), a wrong type, or a value
            out of its range.
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
    check_each(config)
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
    wanted = allowed[0]
    spelled_none = isinstance(value, str) and value == NONE and wanted is not str
    if type(None) in allowed and (value is None or spelled_none):
        return None
    if wanted is bool and isinstance(value, bool):
        return value
    if wanted is str and isinstance(value, str | Path):
        return str(value)
    if wanted is int and is_whole(value):
        return int(value)
    if wanted is float and is_number(value):
        return float(value)
    if wanted in (tuple[int, ...], tuple[str, ...]) and isinstance(value, list | tuple):
        return tuple(convert(group, name, part, get_args(wanted)[0]) for part in value)
    if wanted is Table and isinstance(value, str | Mapping):
        return read_option(group, name, value, read_given_table)
    if wanted is Workers and (isinstance(value, str) or is_whole(value)):
        text = value if isinstance(value, str) else str(int(value))
        return read_option(group, name, text, read_workers)
    words = {
        bool: "true or false",
        str: "a text",
        int: "a whole number",
        float: "a number",
        tuple[int, ...]: "a list of whole numbers",
        tuple[str, ...]: "a list of texts",
        Table: "a table of names and values",
        Workers: "a whole number, or ray:N",
    }
    raise ConfigError(f"{flag(group, name)}: {value!r} is not {words[wanted]}")


def read_option(group: str, name: str, value: Any, read: Callable[[Any], Any]) -> Any:
    """Return what an option was given, as `read` reads it."""
    try:
        return read(value)
    except ConfigError as error:
        raise ConfigError(f"{flag(group, name)}: {error}") from None


def read_given_table(given: Any) -> Table | None:
    """Return the table that was given; None for an empty one."""
    table = read_table(given)
    return table if table.values() else None


def is_number(value: Any) -> bool:
    """Tell whether the value is a number (NumPy's included), and not a truth value."""
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        return False
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def is_whole(value: Any) -> bool:
    """Tell whether the value is a whole number, such as 5 or 5.0."""
    return is_number(value) and math.isfinite(value) and int(value) == value


def nearest(word: str, known: Any) -> str:
    """Return '; did you mean ...?' with the nearest known words, or all of them."""
    close = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; there are {', '.join(known)}"


def check(config: Config) -> None:
    """Raise ConfigError for a value out of its range or options that contradict each other."""
    check_each(config)
    check_together(config)


def check_each(config: Config) -> None:
    """Raise ConfigError for a value that breaks its option's own rule."""
    for group, option in options():
        check_value(group, option, getattr(getattr(config, group), option.name))


def check_value(group: str, option: dataclasses.Field[Any], value: Any) -> None:
    """Raise ConfigError for a value that breaks its option's own rule."""
    rule = option.metadata["rule"]
    if value is None or rule is None:
        return
    holds, sentence = rule
    if (isinstance(value, float) and not math.isfinite(value)) or not holds(value):
        raise ConfigError(f"{flag(group, option.name)} {sentence}, not {value}")


def read_number(group: str, name: str, value: Any) -> float:
    """Return a value of a numeric option, after checking it against the option's own rule.

    Raises:
        ConfigError: it is no number, or not one that the option may be.
    """
    found: float = convert(group, name, value, float)
    (option,) = [own for own in dataclasses.fields(GROUPS[group]) if own.name == name]
    check_value(group, option, found)
    return found


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
    if config.env.cluster != HERE and not config.env.workers.on_ray:
        raise ConfigError(
            f"--env.cluster {config.env.cluster} is where --env.workers ray:N are, and "
            f"--env.workers is {config.env.workers}: give ray:N, or leave --env.cluster out"
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
    if 0 < train.updates_per_step * (steps - learn_after(config)) < 1:
        raise ConfigError(
            f"--train.updates-per-step {train.updates_per_step} makes no update in "
            f"--train.total-steps {steps}: raise one of them"
        )
    if replay.n_step > replay.capacity:
        raise ConfigError(
            f"--replay.n-step {replay.n_step} is more than --replay.capacity {replay.capacity} "
            "holds: lower the one or raise the other"
        )
    horizon = schedule_steps(config)
    if train.updates_per_step > 0 and horizon is not None and learn_after(config) >= horizon:
        raise ConfigError(
            f"learning begins after step {learn_after(config)}, and --train.schedule-steps is "
            f"{horizon}: learning rates would have fallen before; raise --train.schedule-steps"
        )
    if train.seed + train.seeds > 2**31:
        raise ConfigError(
            f"--seed {train.seed} with --seeds {train.seeds} goes beyond 2^31: lower the seed"
        )
    check_critics(config)
    check_smoothing(config)
    check_network("actor", config.actor, replay.batch_size)
    check_network("critic", config.critic, replay.batch_size)
    check_noise(config)


def check_critics(config: Config) -> None:
    """Raise ConfigError where options about several critics, or their layers, contradict."""
    critic = config.critic
    if critic.subset is not None and critic.subset > critic.count:
        raise ConfigError(
            f"--critic.subset {critic.subset} is larger than --critic.count {critic.count}: "
            "lower the one or raise the other"
        )
    if critic.batches != "shared" and critic.count == 1:
        raise ConfigError(
            f"--critic.batches {critic.batches} divides among several critics, and --critic.count "
            "is 1: raise it to 2 or more, or leave --critic.batches shared"
        )
    if critic.batches == "regions" and (critic.bootstrap, config.actor.climbs) != ("mean", "mean"):
        raise ConfigError(
            "--critic.batches regions makes no critic learn everything: bootstrap from and climb "
            "their average, with --critic.bootstrap mean --actor.climbs mean"
        )
    if critic.batches == "regions" and critic.subset is not None:
        raise ConfigError(
            "--critic.batches regions bootstraps from all critics, each of which knows a part, and "
            f"--critic.subset {critic.subset} asks some of them: leave one of the two out"
        )
    if critic.action_layer > len(critic.hidden_sizes):
        raise ConfigError(
            f"--critic.action-layer {critic.action_layer} does not exist without a hidden layer: "
            "give --critic.hidden-sizes, or let the action enter at layer 0"
        )


def check_smoothing(config: Config) -> None:
    """Raise ConfigError where options about target smoothing contradict each other."""
    target = config.target
    if not target.smoothing_std:
        for name, given in (
            ("smoothing-clip", target.smoothing_clip is not None),
            (f"smoothing {target.smoothing}", target.smoothing != "action"),
        ):
            if given:
                raise ConfigError(
                    f"--target.{name} is about a noise that there is none of: give its size with "
                    "--target.smoothing-std, such as 0.2, or leave both out (None)"
                )
    if target.smoothing == "weights" and target.smoothing_clip is not None:
        raise ConfigError(
            "--target.smoothing-clip cuts noise on actions, and --target.smoothing weights puts "
            "it on the target actor's weights: leave one of them out"
        )


def check_noise(config: Config) -> None:
    """Raise ConfigError where options about exploration contradict each other, or others."""
    explore = config.explore
    if explore.noise == "ou" and explore.ou_theta * explore.ou_dt > 1:
        raise ConfigError(
            f"--explore.ou-theta {explore.ou_theta} times --explore.ou-dt {explore.ou_dt} is more "
            "than 1: the noise would overshoot its mean; lower one of them"
        )
    if explore.parameter_distance is None:
        return
    for option, value in (
        ("--train.updates-per-step", config.train.updates_per_step),
        ("--actor.lr", config.actor.lr),
    ):
        if value == 0:
            raise ConfigError(
                f"--explore.parameter-distance perturbs an actor that {option} 0 never improves: "
                "leave the one out, or let it learn"
            )
    if config.actor.norm == "batch":
        raise ConfigError(
            "--explore.parameter-distance leaves normalizations alone, and those of --actor.norm "
            "batch are part of the weights of an actor that acts: choose --actor.norm layer"
        )


def check_network(group: str, network: Network, batch_size: int) -> None:
    """Raise ConfigError where options of a network and its optimizer contradict each other."""
    if network.norm == "batch" and batch_size == 1:
        raise ConfigError(
            f"--{group}.norm batch sees nothing in a --replay.batch-size of 1: raise the one, or "
            "choose another norm"
        )
    if network.momentum is not None and network.optimizer != "sgd":
        raise ConfigError(
            f"--{group}.momentum belongs to sgd, and --{group}.optimizer is {network.optimizer}: "
            "leave it out, or choose sgd"
        )
    if network.weight_decay is not None and network.optimizer == "adam":
        raise ConfigError(
            f"--{group}.weight-decay needs --{group}.optimizer adamw or sgd: adam has no decay"
        )
    if network.weight_decay is None and network.optimizer == "adamw":
        raise ConfigError(
            f"--{group}.optimizer adamw needs its decay: give --{group}.weight-decay, such as 0.01"
        )


def vary(config: Config, changes: Mapping[str, Any]) -> Config:
    """Return the configuration with some numeric options changed: a member's own.

    Raises:
        ConfigError: an option is not numeric, or a part is switched on or off.
    """
    varied = from_dict(merge(to_dict(config), changes))
    for group, option in options():
        old, new = (getattr(getattr(one, group), option.name) for one in (config, varied))
        if old != new and (shapes(option) or (old is None) != (new is None)):
            raise ConfigError(
                f"{flag(group, option.name)} shapes the program, and members of one program cannot "
                f"differ in it: {spelled(new)} needs a run of its own"
            )
    return varied


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
        return parse_toml(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a TOML file: {error}") from None


def parse_toml(text: str, name: str) -> dict[str, Any]:
    """Return the nested dictionary in a TOML text; `name` is what the user knows it by.

    Raises:
        ConfigError: the text is not TOML, or nests deeper than anything that qmu reads.
    """
    try:
        held = tomllib.loads(text)
        too_deep = is_deeper(held, DEEPEST)
    except RecursionError:
        too_deep = True
    except ValueError as error:
        raise ConfigError(f"{name} is not a TOML file: {error}") from None
    if too_deep:
        raise ConfigError(
            f"{name} nests lists and tables more than {DEEPEST} deep, and no option is like that: "
            "write it flatter"
        )
    return held


def is_deeper(held: Mapping[str, Any], levels: int) -> bool:
    """Tell whether lists and tables lie inside of each other on more levels than these."""
    nested: list[Any] = [held]
    for _ in range(levels):
        nested = [
            inner
            for one in nested
            for inner in (one.values() if isinstance(one, Mapping) else one)
            if isinstance(inner, Mapping | list)
        ]
    return bool(nested)


def differences(values: Config, base: Config) -> list[str]:
    """Return a line for every option in which two configurations differ."""
    return [
        f"{flag(group, option.name)} {spelled(new)}  (default: {spelled(old)})"
        for group, option in options()
        for new, old in [
            (getattr(getattr(config, group), option.name) for config in (values, base))
        ]
        if new != old
    ]


def spelled(value: Any) -> str:
    """Return an option's value as it is typed."""
    if value is None:
        return NONE
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
