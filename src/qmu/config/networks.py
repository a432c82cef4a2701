"""The options of actor and critics, and of their optimizers."""

from dataclasses import dataclass

from qmu.config.declared import (
    AT_LEAST_2,
    FRACTION,
    NOT_NEGATIVE,
    PART,
    POSITIVE,
    ZERO_OR_ONE,
    Rule,
    numeric,
    one_of,
    structural,
)
from qmu.errors import ConfigError

SIZES: Rule = (lambda sizes: all(size > 0 for size in sizes), "must all be greater than 0")
NORM = one_of("none", "layer", "batch")
NORM_HELP = "normalization of the hidden layers: none, layer or batch"
ACTIVATION = one_of("relu", "leaky_relu", "elu", "silu", "tanh")


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
    body: str = structural(
        "plain",
        help="hidden layers one after another (plain), or blocks around which inputs go (residual)",
        rule=one_of("plain", "residual"),
    )
    input_norm: bool = structural(False, help="batch normalization of what the network is given")
    weight_norm: bool = structural(
        False, help="incoming weights of every hidden unit kept at length 1 after each update"
    )
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
    joined: bool = structural(
        False, help="batch normalization sees the pairs (s, a) and (s', a') as one batch"
    )
    l2: float | None = numeric(
        None, help="weight, in the critics' loss, of their squared weights", rule=NOT_NEGATIVE
    )
    head: str = structural(
        "scalar",
        help="what a value is said as: a number (scalar), or bins (categorical, hl-gauss)",
        rule=one_of("scalar", "categorical", "hl-gauss"),
    )
    loss: str = structural(
        "squared",
        help="loss of a scalar value: squared, or huber, which grows evenly beyond an error of 1",
        rule=one_of("squared", "huber"),
    )
    bins: int | None = structural(
        None, help="bins of a value that is no scalar; none: 51", rule=AT_LEAST_2
    )
    spread: float | None = numeric(
        None,
        help="hl-gauss: standard deviation of a target, in widths of a bin; none: 0.75",
        rule=POSITIVE,
    )


def check_network(group: str, network: Network, batch_size: int) -> None:
    """Raise ConfigError where options of a network and its optimizer contradict each other."""
    if network.norm == "batch" and batch_size == 1:
        raise ConfigError(
            f"--{group}.norm batch sees nothing in a --replay.batch-size of 1: raise the one, or "
            "choose another norm"
        )
    if network.input_norm and batch_size == 1:
        raise ConfigError(
            f"--{group}.input-norm sees nothing in a --replay.batch-size of 1: raise the one, or "
            "leave the other out"
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


def check_critics(critic: Critic, climbs: str) -> None:
    """Raise ConfigError where options about several critics, or their layers, contradict.

    `climbs` is what of their values the actor climbs.
    """
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
    if critic.batches == "regions" and (critic.bootstrap, climbs) != ("mean", "mean"):
        raise ConfigError(
            "--critic.batches regions makes no critic learn everything: bootstrap from and climb "
            "their average, with --critic.bootstrap mean --actor.climbs mean"
        )
    if critic.batches == "regions" and critic.subset is not None:
        raise ConfigError(
            "--critic.batches regions bootstraps from all critics, each of which knows a part, and "
            f"--critic.subset {critic.subset} asks some of them: leave one of the two out"
        )
    if critic.joined and not (critic.norm == "batch" or critic.input_norm):
        raise ConfigError(
            "--critic.joined is about batch normalization, and the critics have none: give "
            "--critic.norm batch or --critic.input-norm, or leave it out"
        )
    if critic.action_layer > len(critic.hidden_sizes):
        raise ConfigError(
            f"--critic.action-layer {critic.action_layer} does not exist without a hidden layer: "
            "give --critic.hidden-sizes, or let the action enter at layer 0"
        )
