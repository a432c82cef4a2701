"""Options that a model has no use for, or none unless it logs: it refuses what would be ignored."""

from collections.abc import Mapping
from typing import Any

from qmu.errors import ConfigError

LOG = "give log={'dir': 'runs'}, too, and the model writes a run"
SAVE = f"a model is saved when you call save(path); {LOG}, with checkpoints"
# What a model that writes no run does instead.
UNLOGGED = {
    ("log", "name"): LOG,
    ("log", "tensorboard"): LOG,
    ("log", "video_interval"): LOG,
    ("log", "wandb"): LOG,
    ("log", "wandb_project"): LOG,
    ("log", "wandb_runs"): LOG,
    ("train", "eval_interval"): f"give it to learn(..., eval_interval=...); {LOG}",
    ("train", "final_episodes"): f"evaluate(episodes) scores a model; {LOG}",
    ("train", "save_interval"): SAVE,
    ("train", "keep_checkpoints"): SAVE,
}
# What every model does instead.
INSTEAD = {
    ("train", "total_episodes"): "learn(total_steps) takes steps, and a callback may end it",
}
# With such a value an option asks for nothing, and is no mistake.
OFF: tuple[Any, ...] = (False, 0, None, "disabled")


def logs(groups: Mapping[str, Any]) -> bool:
    """Tell whether options ask a model to write a run."""
    log = groups.get("log")
    return isinstance(log, Mapping) and log.get("dir") is not None


def check_idle(model: str, groups: Mapping[str, Any]) -> None:
    """Raise ConfigError for an option that would have no effect on a model.

    Args:
        model: the name of its class.
        groups: what the user has set, group -> option -> value. A recipe is made for runs, too,
            and may have such options.
    """
    idle = INSTEAD if logs(groups) else INSTEAD | UNLOGGED
    for (group, option), instead in idle.items():
        given = groups.get(group)
        if isinstance(given, Mapping) and option in given and given[option] not in OFF:
            raise ConfigError(
                f"{group}.{option} has no effect on a qmu.{model}: {instead}; or leave it out"
            )
