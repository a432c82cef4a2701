"""Options that a run has a use for, and a model has none: it refuses what would be ignored."""

from collections.abc import Mapping
from typing import Any

from qmu.errors import ConfigError

RUN = "qmu.train(...) makes a run, which does"
SAVE = "a model is saved when you call save(path), and qmu.train(...) makes a run with checkpoints"
# What a model does instead; with a value of `OFF` an option asks for nothing, and is no mistake.
INSTEAD = {
    ("log", "dir"): f"a model writes nothing while it learns: {RUN}",
    ("log", "name"): f"a model writes nothing while it learns: {RUN}",
    ("log", "tensorboard"): f"a model writes no event files: {RUN}",
    ("log", "video_interval"): f"a model makes no videos: {RUN}",
    ("log", "wandb"): f"a model has no Weights & Biases: {RUN}",
    ("log", "wandb_project"): f"a model has no Weights & Biases: {RUN}",
    ("log", "wandb_runs"): f"a model has no Weights & Biases: {RUN}",
    ("train", "total_episodes"): "learn(total_steps) takes steps; a callback may end it",
    ("train", "eval_interval"): "give it to learn(..., eval_interval=...)",
    ("train", "final_episodes"): "evaluate(episodes) scores a model",
    ("train", "save_interval"): SAVE,
    ("train", "keep_checkpoints"): SAVE,
}
OFF: tuple[Any, ...] = (False, 0, None, "disabled")


def check_idle(model: str, groups: Mapping[str, Any]) -> None:
    """Raise ConfigError for an option that would have no effect on a model.

    Args:
        model: the name of its class.
        groups: what the user has set, group -> option -> value. A recipe is made for runs, too,
            and may have such options.
    """
    for (group, option), instead in INSTEAD.items():
        given = groups.get(group)
        if isinstance(given, Mapping) and option in given and given[option] not in OFF:
            raise ConfigError(
                f"{group}.{option} has no effect on a qmu.{model}: {instead}; leave it out"
            )
