"""Hears from Ray Tune which trials there are; only a search's own process imports this."""

from typing import Any, ClassVar

from ray import tune


class Watching(tune.Callback):
    """A callback that keeps the trials of its process, in which there is one search.

    Ray writes callbacks into its files: what they know is the class's, and so stays in the process.
    """

    trials: ClassVar[list[Any]] = []

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Keep what there is."""
        del iteration, info
        Watching.trials = list(trials)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Keep what there is, also of a search that had nothing left to do."""
        del info
        Watching.trials = list(trials)
