"""The options of what is written, where, how often."""

from dataclasses import dataclass

from qmu.config.declared import NOT_EMPTY, NOT_NEGATIVE, POSITIVE, Rule, one_of, structural

FILE_NAME: Rule = (
    lambda name: name != "" and not set(name) & set('/\\:*?"<>|\0') and not name.startswith("."),
    "must be usable as a part of a folder's name",
)
PROJECT: Rule = (
    lambda name: 0 < len(name) <= 128 and not set(name) & set("/\\#?%:\0"),
    "must have 1 to 128 characters, none of / \\ # ? % :",
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
