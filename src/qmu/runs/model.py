"""The interface that users of other libraries know: a model that learns, predicts, is saved."""

import contextlib
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qmu import config as options
from qmu.agent.custom import Networks
from qmu.collecting.evaluate import Score
from qmu.config import Config, reading
from qmu.config.values import is_whole
from qmu.deploy.past import State, begun_anew, check_state
from qmu.deploy.policy import Policy
from qmu.errors import ConfigError, warn
from qmu.learning.callbacks import Callback, Listeners, Stop, check_callbacks
from qmu.learning.custom import check_networks, check_options, misfit
from qmu.learning.devices import with_room
from qmu.learning.events import Broken, Event, Logged, Progress
from qmu.learning.handover import policy_of
from qmu.learning.loop import FINAL_SEEDS, Trainer, crossed
from qmu.learning.schedules import Schedule, check_again
from qmu.learning.statistics import OLD, is_old
from qmu.places import WorkingFolder
from qmu.records.directory import runs_of
from qmu.runs.file import read, write
from qmu.runs.idle import check_idle, logs
from qmu.runs.journal import Journal
from qmu.runs.results import Run, check_shown, evaluate_policy
from qmu.runs.train import configure_run, prepare
from qmu.saving import arrays
from qmu.signals import Signals, handlers, handlers_of_user
from qmu.watching.wandb_sink import check_wandb
from qmu.world.centre import centred, read_centre
from qmu.world.declared import declared, misfits
from qmu.world.hearing import aloud
from qmu.world.make import Maker, Source
from qmu.world.named import check_id_in_file, check_wrappers_again
from qmu.world.normalizing import notes_on

Model = TypeVar("Model")
Events = Iterator[Event]


class DDPG:
    """A deterministic-policy-gradient agent for one environment.

    Nothing is written to disk until `save`, unless `log={"dir": ...}` asks for a run: then `learn`
    writes what `qmu.train` writes, which is the way to the best policy of several seeds.

    Attributes:
        log: the newest metrics, renewed every `log.interval` steps and at the end of `learn`.
        stopped: what a callback returned to end the last call of `learn`; None if none did.
    """

    # The preset that a model begins with, if it is given none.
    RECIPE = "default"

    def __init__(
        self,
        env: Source,
        /,
        *,
        seed: int | None = None,
        preset: str | None = None,
        schedules: Mapping[str, Schedule] | None = None,
        networks: Networks | None = None,
        **groups: Mapping[str, Any],
    ) -> None:
        """Make the worlds and an agent that has learned nothing.

        Args:
            env: an environment id, a function that returns a Gymnasium environment, an
                environment, or a vector environment in same-step autoreset mode.
            seed: the seed of everything random (`train={"seed": ...}`).
            preset: the recipe to start from, as in `qmu.train`; None: the class's own.
            schedules: functions of the step by the names of numeric options, as in `qmu.train`.
            networks: what makes actor or critics, instead of what the options say, as there.
            **groups: a dictionary per group of options, as in `qmu.train`. With `log={"dir": ...}`
                the model writes a run into a directory there, from the first call of `learn` on,
                each of which ends as a run does: evaluated, saved and scored. Without it, the
                options that say when something is evaluated, and what is written when, are refused:
                they would have no effect, and `save`, `learn` and `evaluate` do it. Learning rates
                fall only if `train={"total_steps": ...}` says over how many steps.

        Raises:
            ConfigError: something about the request is wrong.
        """
        shortcuts = {} if seed is None else {"seed": seed}
        config = configure_run(env, preset or self.RECIPE, groups, shortcuts)
        check_idle(type(self).__name__, groups)
        if networks is not None:
            check_options(networks, groups, config)
        self.begin(config, env, schedules, networks, logs(groups))

    def begin(
        self,
        config: Config,
        env: Source,
        schedules: Mapping[str, Schedule] | None,
        networks: Networks | None,
        logging: bool,
        described: Mapping[str, Any] | None = None,
    ) -> None:
        """Make the worlds and an agent that has learned nothing, as the configuration says.

        The centre of observations is that of a model that is `described`, or measured. Where it is
        `logging`, it writes a run.
        """
        if config.train.seeds != 1:
            raise ConfigError(
                f"qmu.{type(self).__name__} is one agent: use qmu.train for several seeds"
            )
        config = options.replace(config, "env", id=id_of(env))
        self.logging, self.at_work = logging, False
        self.journal: Journal | None = None
        self.source, before = env, handlers()
        self.folder = WorkingFolder()
        with self.folder as home:
            self.home = home
            if logging:
                runs_of(config, home)
                check_wandb(config)
            config, maker = prepare(config, env)
            with contextlib.closing(maker):
                if described is not None and "centre" in described:
                    maker = maker.around(read_centre(described["centre"], maker.spaces))
                elif described is None and config.env.normalize_obs:
                    maker = centred(maker)
                config, lowered = with_room(config, maker, 1)
                if lowered is not None:
                    warn(lowered)
                self.trainer = Trainer(config, maker, schedules=schedules, networks=networks)
        self.handlers = before, handlers()
        if not logging:
            for note in notes_on(maker.normalizers):
                warn(note)
        self.log: dict[str, float] = {}
        self.stopped: Stop | None = None
        self.shown: Policy | None = None

    @aloud()
    def learn(
        self,
        total_steps: int,
        *,
        callbacks: Sequence[Callback] = (),
        eval_interval: int | None = None,
    ) -> Self:
        """Take this many more steps, learning; going on where the last call ended.

        Args:
            total_steps: how many.
            callbacks: what is told of chunks and evaluations, and may end the call. A model that
                does not log saves nothing by itself, and never calls `on_save`.
            eval_interval: steps between two evaluations of `train.eval_episodes` episodes, of which
                the callbacks are told, each at the end of a chunk, with `env.single` at that of an
                episode; None: there are none. A model that logs has `train.eval_interval`.

        Returns:
            The model itself. `log` holds the newest metrics.

        Raises:
            ConfigError: the steps would exceed the model's own `train={"total_steps": ...}`, or
                what is given is none of the above, or the directory of a model that logs cannot be
                made or written into.
            WorldError: an environment failed. The model is as it was until then.
            DivergedError: its weights are no longer finite.
            LostRunError: the directory of a model that logs is gone; the next call makes another.
            UnsavedError: something could not be written into it.
        """
        check_callbacks(callbacks)
        steps = read_count("total_steps", total_steps)
        every = 0 if eval_interval is None else read_count("eval_interval", eval_interval)
        planned = self.trainer.config.train.total_steps
        if planned is not None and self.steps + steps > planned:
            raise ConfigError(
                f"{self.steps} steps and {steps} more are beyond this model's total_steps, "
                f"{planned}: learn fewer, or make the model without train={{'total_steps': ...}}, "
                "and it learns on and on"
            )
        if every and self.logging:
            raise ConfigError(
                f"eval_interval={eval_interval}: this model writes a run, whose evaluations have "
                "an interval of their own: make it with train={'eval_interval': ...}"
            )
        end = self.steps + steps
        with self.folder, self.working():
            journal = self.open_journal()
            scores = [] if journal is None else journal.record.last
            listeners = Listeners(callbacks, self.trainer, end, scores)
            if journal is not None:
                work = partial(self.work, steps)
                journal.learn(work, end, listeners, handlers_of_user(*self.handlers))
            else:
                self.learn_alone(steps, every, listeners)
        self.stopped = listeners.stop
        self.trainer.actors(lag=False)  # raises if they are not finite
        return self

    def open_journal(self) -> Journal | None:
        """Return the run that is written, which the first call begins; None: none is.

        A run whose directory has been lost is followed by another.
        """
        if not self.logging:
            return None
        if self.journal is None or not self.journal.close.alive:
            self.journal = Journal(self.trainer, self.home)
        return self.journal

    def work(self, steps: int, stopped: Callable[[], bool], evaluating: bool = True) -> Events:
        """Take more steps, or until `stopped`; yield what happens, at last what was not logged."""
        for event in self.trainer.run(steps, evaluating=evaluating, stopped=stopped):
            if isinstance(event, Logged):
                self.log = event.members[0]
            yield event
        if self.trainer.logged_at[0] != self.trainer.step:
            event = self.trainer.log()
            self.log = event.members[0]
            yield event

    def learn_alone(self, steps: int, every: int, listeners: Listeners) -> None:
        """Learn without a run, evaluated after `every` so many steps.

        Ctrl-C waits for the end of a chunk: in the middle of one it would leave no agent.
        """
        before, broken, due = self.steps, set[str](), False
        with Signals(warn, handlers_of_user(*self.handlers), [signal.SIGINT]) as signals:
            for event in self.work(steps, signals.or_stopped(listeners.stopped), evaluating=False):
                if isinstance(event, Broken) and event.breakdown.cause not in broken:
                    broken.add(event.breakdown.cause)
                    warn(event.told)
                listeners.hear(event)
                if isinstance(event, Progress):
                    due |= crossed(before, self.steps, every)
                    if self.trainer.interrupts(due):
                        listeners.hear(self.trainer.evaluate())
                        due = False
                    before = self.steps
            signals.check()

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Let nobody close the model, or go on with it, while it learns.

        Raises:
            ConfigError: it is closed, or learning, as where a callback asks for something of it.
        """
        self.check_rests("learn")
        self.at_work = True
        try:
            yield
        finally:
            self.at_work = False

    def check_rests(self, what: str) -> None:
        """Raise ConfigError if something cannot be done, since the model learns, or is closed."""
        if self.at_work:
            raise ConfigError(
                f"{what}: this model is learning; a callback ends that with qmu.Stop('why')"
            )
        if self.trainer.closed and what != "close":
            raise ConfigError(f"{what}: this model's worlds are closed; make another, or load it")

    @property
    def run(self) -> Run:
        """The run that the model writes, read anew: its curves, its best policy, its scores.

        Raises:
            ConfigError: it writes none, or has not begun to.
            LostRunError: its directory is gone.
        """
        if self.journal is None:
            raise ConfigError(
                "this model has written no run: with log={'dir': 'runs'} it does when it learns"
            )
        wrappers, networks = self.trainer.config.env.wrappers, self.trainer.networks
        directory = self.journal.place()
        return Run(directory, self.source, wrappers=wrappers, networks=networks)

    def policy(self) -> Policy:
        """Return the policy as it is now."""
        if self.shown is None or self.shown.info["step"] != self.steps:
            (actor,) = self.trainer.learner.actors(lag=False)
            maker = self.trainer.maker
            self.shown = policy_of(
                actor, maker.spaces, **maker.made, seed=self.seed, step=self.steps
            )
        return self.shown

    def predict(
        self,
        observation: ArrayLike | Mapping[str, Any] | tuple[Any, ...],
        state: State | None = None,
        episode_start: ArrayLike | None = None,
        deterministic: bool = True,
        reward: ArrayLike | None = None,
    ) -> tuple[NDArray[np.float32], State | None]:
        """Return the action for an observation, or one per row of a batch, and the next state.

        Args:
            observation: one observation, or a batch of them, each of an episode of its own.
            state: what the call before has returned; None at the beginning of all episodes.
            episode_start: which rows [batch] begin another episode.
            deterministic: has to be true.
            reward: what the step before has brought, [batch] of a batch, for a memory that is fed
                it.

        Returns:
            The actions; the state, which is None for a policy that acts on one observation alone.

        Raises:
            ValueError: the observation has another shape, the state is another policy's, there is
                another number of beginnings, or a random action was asked for.
        """
        if not deterministic:
            raise ValueError("this policy is deterministic; add noise of your own to its actions")
        policy = self.policy()
        if not policy.initial_state():
            return policy(observation), None
        batch = policy.batch_size(observation)
        before = policy.initial_state(batch) if state is None else state
        if episode_start is not None:
            check_state(policy.past, before, batch)
            starts = np.asarray(episode_start, bool).reshape(-1)
            if len(starts) != batch:
                raise ValueError(
                    f"episode_start has {len(starts)} flags, for {batch} observations: give one "
                    "for each"
                )
            before = begun_anew(before, starts)
        return policy.step(observation, before, reward)

    def evaluate(self, episodes: int = 10) -> Score:
        """Return the score of the policy on new episodes.

        With `env.single` they are in the world that is learned in, whose episode is cut off.
        """
        with self.folder:
            if self.trainer.only is not None:
                check_shown(episodes)
                (score,) = self.trainer.score(self.trainer.actors(lag=False), FINAL_SEEDS, episodes)
                return score
            return evaluate_policy(self.policy(), self.trainer.maker, episodes, FINAL_SEEDS)

    def save(self, path: str | Path) -> None:
        """Write the agent with its optimizers and settings into one file.

        The replayed rows are not in it: after `load`, learning goes on when as many new steps have
        been taken as a fresh run takes before its first update.

        Raises:
            ConfigError: the file cannot be written.
        """
        own = {"class": type(self).__name__, "recipe": self.RECIPE}
        write(self.trainer, path, own)

    @classmethod
    def load(
        cls,
        path: str | Path,
        env: Source | None = None,
        *,
        wrappers: Sequence[str] | None = None,
        schedules: Mapping[str, Schedule] | None = None,
        networks: Networks | None = None,
        log: Mapping[str, Any] | None = None,
    ) -> Self:
        """Return the model saved in a file; of the class that was saved, if that is a kind of this.

        A class of the user's own has to be defined when the file is read. If it is not, the model
        is of the one that has its recipe.

        Args:
            path: what `save` was given.
            env: the environment; None makes it from the id in the file.
            wrappers: the dotted names of its wrappers, if it has some; the same as before.
            schedules: functions of the step; those that the model followed have to be given again.
            networks: the same as before, if the model has networks of its own.
            log: options of what is written; with `dir` the model goes on in a new run there. What
                the saved model wrote is not gone on with.

        Raises:
            ConfigError: no such file, a damaged one, one of another class, or an environment that
                does not fit it.
        """
        saved = read(path)
        file, described = saved.file, saved.described
        source = saved.config.env.id if env is None else env
        if source is None:
            raise ConfigError(
                f"{file} was saved from an environment without an id: give it as env=..."
            )
        if env is None:
            check_id_in_file(saved.config.env.id, file, "give it as env=...")
        way_out = "name them again as wrappers=[...]"
        check_wrappers_again(saved.config.env.wrappers, wrappers, file, way_out)
        way_out = "as load(..., schedules={...})"
        check_again(file, described.get("schedules", []), schedules, way_out)
        way_out = "as load(..., networks=...)"
        check_networks(file, described.get("networks", []), networks, way_out)
        kind = cls.kind_of(described, file)
        given = {} if log is None else {"log": log}
        check_idle(kind.__name__, given)
        config = reading.from_dict(reading.merge(options.to_dict(saved.config), given))
        config = in_world(config, source)
        model = kind.__new__(kind)
        try:
            model.begin(config, source, schedules, networks, logs(given), described)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"the description in {file} is damaged: {error}") from None
        learner = model.trainer.learner
        try:
            # Versions before wrote no spaces.
            if "spaces" in described:
                cls.check_world(described["spaces"], model.trainer.maker)
            learner.load(saved.held, "")
            if learner.statistics is not None and is_old(learner.statistics):
                warn(OLD)
            model.trainer.restore(saved.step, saved.updates, [saved.episodes], [saved.world_steps])
        except arrays.UnreadableError as error:
            model.close()
            raise ConfigError(misfit(file, networks, error)) from None
        except (KeyError, TypeError, ValueError) as error:
            model.close()
            raise ConfigError(f"the description in {file} is damaged: {error!r}") from None
        except BaseException:
            model.close()
            raise
        return model

    @classmethod
    def kind_of(cls, described: Mapping[str, Any], file: Path) -> type[Self]:
        """Return this class or the kind of it that a saved model is of, by its name or its recipe.

        Raises:
            ConfigError: there is none.
        """
        recipe = described.get("recipe", DDPG.RECIPE)
        # Of several with a name, as in a notebook's cell that is run again, the newest.
        named = [kind for kind in kinds_of(cls) if kind.__name__ == described.get("class")][-1:]
        for kind in [*named, *kinds_of(cls)]:
            if recipe == kind.RECIPE:
                return kind
        raise ConfigError(
            f"{file} holds a model of the recipe {recipe!r}, and that of qmu.{cls.__name__} is "
            f"{cls.RECIPE!r}: load it with qmu.DDPG.load"
        )

    def set_env(self, env: Source) -> None:
        """Go on in another environment with the same spaces; what was stored stays in the stream.

        The episodes that were going on are cut off, as by a time limit. `env.kwargs` stay those of
        the id that they were given for. A model that logs ends its run, and begins another.

        Raises:
            ConfigError: its observations, actions or bounds are others, or the model's world is the
                only one.
        """
        self.check_rests("set_env")
        if self.trainer.only is not None:
            raise ConfigError(
                "set_env makes a world before it leaves the one that there is, which with "
                "--env.single is the only one: save the model, close it, and load it with the "
                f"other: qmu.{type(self).__name__}.load(path, env=...)"
            )
        with self.folder:
            config, maker = prepare(in_world(self.trainer.config, env), env)
        self.check_world(declared(self.trainer.maker.spaces, None), maker)
        if config.env.count != self.trainer.config.env.count:
            raise ConfigError(
                f"{maker.name} is {config.env.count} worlds, and this model's stream is made for "
                f"{self.trainer.config.env.count}: give as many"
            )
        with self.folder:
            if self.journal is not None:
                self.journal.close()
            self.trainer.move(config, maker.around(self.trainer.maker.spaces.centre))
        self.source, self.shown = env, None

    @staticmethod
    def check_world(before: Mapping[str, Any], maker: Maker) -> None:
        """Raise ConfigError where worlds do not fit networks that were made for others."""
        unfit = misfits(before, declared(maker.spaces, None))
        if unfit:
            raise ConfigError(
                f"{maker.name} has other observations, actions or bounds than {before['name']}, "
                f"which the networks were made for ({'; '.join(unfit)}): make a new model"
            )

    @property
    def steps(self) -> int:
        """Steps taken so far."""
        return self.trainer.step

    @property
    def seed(self) -> int:
        """The agent's seed."""
        return self.trainer.seeds[0]

    def close(self) -> None:
        """Close the worlds, and the run that is written, which stays to be read in `run`.

        Raises:
            ConfigError: the model is learning.
        """
        self.check_rests("close")
        with self.folder:
            if self.journal is not None:
                self.journal.close()
            self.trainer.close()


class TD3(DDPG):
    """A `DDPG` whose recipe is that of Fujimoto et al. 2018: the preset `td3`.

    Two critics, an actor that learns at every other update, smoothed target actions. `qmu presets
    td3` prints all of it; options that are given go on top.
    """

    RECIPE = "td3"


def kinds_of(kind: type[Model]) -> list[type[Model]]:
    """Return a class and all that are derived from it."""
    return [kind, *(one for own in kind.__subclasses__() for one in kinds_of(own))]


def id_of(env: Source) -> str | None:
    """Return an environment's id, if it was named by one."""
    return env if isinstance(env, str) else None


def in_world(config: Config, env: Source) -> Config:
    """Return the configuration for this environment; keyword arguments are those of their own."""
    kwargs = config.env.kwargs if env == config.env.id else None
    return options.replace(config, "env", id=id_of(env), kwargs=kwargs)


def read_count(name: str, value: Any) -> int:
    """Return a number of steps.

    Raises:
        ConfigError: it is none.
    """
    if not (is_whole(value) and value > 0):
        raise ConfigError(f"{name} must be a whole number above 0, not {value!r}")
    return int(value)
