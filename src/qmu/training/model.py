"""The interface that users of other libraries know: a model that learns, predicts, is saved."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qmu import config as options
from qmu import configure
from qmu.deploy.policy import Policy
from qmu.errors import ConfigError
from qmu.saving import arrays, storage
from qmu.training.evaluate import Score
from qmu.training.loop import FINAL_SEEDS, Logged, Trainer
from qmu.training.results import evaluate_policy
from qmu.training.run import configure_run, prepare
from qmu.world.make import Source
from qmu.world.named import check_id_in_file, check_wrappers_again

FORMAT = "qmu agent 1"


class DDPG:
    """A deterministic-policy-gradient agent for one environment.

    Nothing is written to disk until `save`; `qmu.train` is the way to a run with files, curves
    and the best policy of several seeds.
    """

    def __init__(
        self,
        env: Source,
        /,
        *,
        seed: int | None = None,
        preset: str | None = None,
        **groups: Mapping[str, Any],
    ) -> None:
        """Make the worlds and an agent that has learned nothing.

        Args:
            env: an environment id, a function that returns a Gymnasium environment, an
                environment, or a vector environment in same-step autoreset mode.
            seed: the seed of everything random (`train={"seed": ...}`).
            preset: the recipe to start from, as in `qmu.train`.
            **groups: a dictionary per group of options, as in `qmu.train`. The options that say
                when something is evaluated, and where and when it is saved, have no effect here.
                Learning rates fall only if `train={"total_steps": ...}` says over how many steps.

        Raises:
            ConfigError: something about the request is wrong.
        """
        config = configure_run(env, preset, groups, {} if seed is None else {"seed": seed})
        if config.train.seeds != 1:
            raise ConfigError("qmu.DDPG is one agent: use qmu.train for several seeds")
        if isinstance(env, str):
            config = options.replace(config, "env", id=env)
        self.source = env
        self.trainer = Trainer(*prepare(config, env))
        self.log: dict[str, float] = {}

    def learn(self, total_steps: int) -> "DDPG":
        """Take this many more steps, learning; going on where the last call ended.

        Returns:
            The model itself. `log` holds the newest metrics.

        Raises:
            ConfigError: the steps would exceed the model's own `train={"total_steps": ...}`.
            WorldError: an environment failed. The model is as it was until then.
            DivergedError: its weights are no longer finite.
        """
        if total_steps < 1 or int(total_steps) != total_steps:
            raise ConfigError(f"total_steps must be a whole number above 0, not {total_steps}")
        planned = self.trainer.config.train.total_steps
        if planned is not None and self.steps + total_steps > planned:
            raise ConfigError(
                f"{self.steps} steps and {total_steps} more are beyond this model's total_steps, "
                f"{planned}, at which its learning rates have fallen to their end: learn fewer, or "
                "make the model without train={'total_steps': ...}, and it learns on and on"
            )
        for event in self.trainer.run(int(total_steps), evaluating=False):
            if isinstance(event, Logged):
                self.log = event.members[0]
        if self.trainer.logged_at[0] != self.trainer.step:
            self.log = self.trainer.log().members[0]
        self.trainer.actors(lag=False)  # raises if they are not finite
        return self

    def policy(self) -> Policy:
        """Return the policy as it is now."""
        spaces = self.trainer.maker.spaces
        (actor,) = self.trainer.learner.actors(lag=False)
        info = {"environment": spaces.name, "seed": self.seed, "step": self.steps}
        return Policy(
            actor,
            spaces.obs_shape,
            spaces.action_shape,
            spaces.low,
            spaces.high,
            info,
            spaces.parts,
        )

    def predict(
        self,
        observation: ArrayLike | Mapping[str, Any] | tuple[Any, ...],
        deterministic: bool = True,
    ) -> tuple[NDArray[np.float32], None]:
        """Return the action for an observation, or one per row of a batch, and None.

        The second value is the state of a recurrent policy in libraries that have one.

        Raises:
            ValueError: the observation has another shape, or a random action was asked for.
        """
        if not deterministic:
            raise ValueError("this policy is deterministic; add noise of your own to its actions")
        return self.policy()(observation), None

    def evaluate(self, episodes: int = 10) -> Score:
        """Return the score of the policy on new episodes."""
        settings = self.trainer.config.env
        return evaluate_policy(self.policy(), self.source, episodes, settings, FINAL_SEEDS)

    def save(self, path: str | Path) -> None:
        """Write the agent with its optimizers and settings into one file.

        The replayed rows are not in it: after `load`, learning goes on when as many new steps have
        been taken as a fresh run takes before its first update.

        Raises:
            ConfigError: the file cannot be written.
        """
        trainer = self.trainer
        described = {
            "config": options.to_dict(trainer.config),
            "environment": trainer.maker.spaces.name,
            "step": trainer.step,
            "updates": trainer.learner.updates,
            "episodes": trainer.episodes.tolist(),
        }
        agents = arrays.stacked([members.agents for members in trainer.learner.members])
        header = {"format": FORMAT, "described": json.dumps(described)}
        file = with_suffix(path)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            storage.replace_file(file, arrays.pack({"": agents}, header))
        except OSError as error:
            raise ConfigError(f"cannot write {file}: {error.strerror}") from None

    @classmethod
    def load(
        cls, path: str | Path, env: Source | None = None, wrappers: Sequence[str] | None = None
    ) -> "DDPG":
        """Return the model saved in a file.

        Args:
            path: what `save` was given.
            env: the environment; None makes it from the id in the file.
            wrappers: the dotted names of its wrappers, if it has some; the same as before.

        Raises:
            ConfigError: no such file, a damaged one, or an environment that does not fit it.
        """
        file = with_suffix(path)
        try:
            data = file.read_bytes()
        except FileNotFoundError:
            raise ConfigError(f"there is no file {file}") from None
        except OSError as error:
            raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
        try:
            held = arrays.unpack(data)
        except arrays.UnreadableError as error:
            raise ConfigError(f"{file} cannot be read as a safetensors file: {error}") from None
        described = description_in(file, arrays.header_of(data))
        try:
            config = configure.from_dict(described["config"])
            step, updates = int(described["step"]), int(described["updates"])
            episodes = [int(count) for count in described["episodes"]]
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"the description in {file} is damaged: {error!r}") from None
        source = config.env.id if env is None else env
        if source is None:
            raise ConfigError(
                f"{file} was saved from an environment without an id: give it as env=..."
            )
        if env is None:
            check_id_in_file(config.env.id, file, "give it as env=...")
        way_out = "name them again as wrappers=[...]"
        check_wrappers_again(config.env.wrappers, wrappers, file, way_out)
        groups: dict[str, Any] = options.to_dict(config)
        model = cls(source, **groups)
        learner = model.trainer.learner
        groups_of_agents = [members.agents for members in learner.members]
        try:
            agents = arrays.like_groups("", held, groups_of_agents)
        except arrays.UnreadableError as error:
            raise ConfigError(f"{file} does not fit its own configuration: {error}") from None
        model.trainer.restore(step, updates, episodes)
        learner.load(agents)
        return model

    @property
    def steps(self) -> int:
        """Steps taken so far."""
        return self.trainer.step

    @property
    def seed(self) -> int:
        """The agent's seed."""
        return self.trainer.seeds[0]

    def close(self) -> None:
        """Close the worlds."""
        self.trainer.close()


def description_in(file: Path, header: dict[str, Any]) -> dict[str, Any]:
    """Return the description in the header of a saved model.

    Raises:
        ConfigError: it is not that of one.
    """
    if header.get("format") != FORMAT:
        raise ConfigError(f"{file} holds no agents saved by qmu")
    try:
        described = json.loads(header["described"])
    except (KeyError, ValueError) as error:
        raise ConfigError(f"the description in {file} is damaged: {error}") from None
    if not isinstance(described, dict):
        raise ConfigError(f"the description in {file} is damaged: it is no object")
    return described


def with_suffix(path: str | Path) -> Path:
    """Return the path with the ending .safetensors."""
    file = Path(path)
    return file if file.suffix == ".safetensors" else file.with_name(file.name + ".safetensors")
