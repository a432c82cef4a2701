"""One run from start to end."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import gymnasium as gym

from qmu import config as options
from qmu.agent.custom import Networks
from qmu.collecting.display import be_ready
from qmu.collecting.elsewhere import LostError
from qmu.config import Config, checks, reading
from qmu.config.env import check_ready_made
from qmu.config.lengths import check_saves
from qmu.config.members import Arms, members_of
from qmu.errors import ConfigError, LostRunError, QmuError, UnsavedError, told, warn
from qmu.learning.callbacks import Callback, Listeners, check_callbacks
from qmu.learning.custom import check_options
from qmu.learning.devices import with_room
from qmu.learning.events import Due, Event
from qmu.learning.loop import Trainer
from qmu.learning.schedules import Schedule
from qmu.places import WorkingFolder, shown
from qmu.presets import DEFAULT, read_preset
from qmu.records.again import how_to_go_on
from qmu.records.directory import CHECKPOINTS
from qmu.runs.lock import locked
from qmu.runs.record import Record, open_record
from qmu.runs.results import Run
from qmu.saving import store
from qmu.signals import Handlers, Signals, handlers
from qmu.watching.sinks import Sink, check_sinks
from qmu.world.centre import centred
from qmu.world.make import Maker, Source, maker_of
from qmu.world.named import check_id_in_file, check_wrappers_in_file


class Work(Protocol):
    """Takes steps until its end, or until it is `stopped`, and yields what happens."""

    def __call__(self, *, stopped: Callable[[], bool]) -> Iterator[Event]:
        """Begin."""


def train(
    env: Source | None = None,
    /,
    *,
    seed: int | None = None,
    seeds: int | None = None,
    total_steps: int | None = None,
    preset: str | None = None,
    progress: bool = False,
    callbacks: Sequence[Callback] = (),
    schedules: Mapping[str, Schedule] | None = None,
    networks: Networks | None = None,
    sinks: Sequence[Sink] = (),
    **groups: Mapping[str, Any],
) -> Run:
    """Train a deterministic policy and return the finished run.

    Args:
        env: an environment id, a function that returns a Gymnasium environment, an environment,
            or a vector environment in same-step autoreset mode.
        seed: the first member's seed (`train={"seed": ...}`).
        seeds: how many members are trained side by side (`train={"seeds": ...}`).
        total_steps: steps of each member (`train={"total_steps": ...}`).
        preset: the recipe to start from: a name that `qmu presets` lists, a path that ends in
            .toml, or `auto` for the environment's own.
        progress: show a live display, as the command line does.
        callbacks: what is told of chunks, evaluations and checkpoints, and may end the run.
        schedules: functions of the step by the names of numeric options, such as `actor.lr`; each
            gives the option's number for a chunk that begins at that step.
        networks: what makes actors or critics, instead of what the options say: `qmu.Networks`.
        sinks: what metrics are written to, beside the run's own files; see `qmu.Sink`.
        **groups: a dictionary per group of options: env, actor, critic, target, explore, replay,
            train, log; the names are those of `qmu train --help`.

    Raises:
        ConfigError: something about the request is wrong; nothing was started or written.
        WorldError: an environment failed; what had been learned is saved.
    """
    shortcuts = {"seed": seed, "seeds": seeds, "total_steps": total_steps}
    given = {name: value for name, value in shortcuts.items() if value is not None}
    config = configure_run(env, preset, groups, given)
    if networks is not None:
        check_options(networks, groups, config)
    console = None
    if progress:
        from qmu.watching.console import Console

        console = Console()
    return train_config(
        config,
        env,
        console,
        callbacks=callbacks,
        schedules=schedules,
        networks=networks,
        sinks=sinks,
    )


def configure_run(
    source: Source | None,
    preset: str | None,
    groups: Mapping[str, Any],
    shortcuts: Mapping[str, Any],
) -> Config:
    """Return the configuration of a preset, groups of options, and options of `train` on top."""
    named = source if isinstance(source, str) else None
    if source is None and isinstance(env := groups.get("env"), Mapping):
        named = env.get("id")
    recipe = read_preset(DEFAULT if preset is None else preset, named)
    if source is None:
        config = reading.read_dict(recipe)
        check_id_in_file(config.env.id, preset, "give it as the first argument")
    values = reading.merge(recipe, groups)
    if not names_wrappers(groups):
        wrappers = reading.read_dict(recipe).env.wrappers
        check_wrappers_in_file(wrappers, preset, "give them yourself: env={'wrappers': [...]}")
    return reading.from_dict(reading.merge(values, {"train": shortcuts} if shortcuts else {}))


def names_wrappers(groups: Mapping[str, Any]) -> bool:
    """Tell whether groups of options say which wrappers go around each world."""
    env = groups.get("env")
    return isinstance(env, Mapping) and "wrappers" in env


def train_config(
    config: Config,
    source: Source | None = None,
    console: Any = None,
    arms: Arms | None = None,
    callbacks: Sequence[Callback] = (),
    schedules: Mapping[str, Schedule] | None = None,
    networks: Networks | None = None,
    sinks: Sequence[Sink] = (),
) -> Run:
    """Train as the configuration says, on its environment id or on the source given instead.

    Args:
        config: the run's options.
        source: makes the worlds, where the configuration has no id.
        console: what shows the run to a person.
        arms: name -> numeric options that arms of the run differ in; each has all seeds.
        callbacks: what is told of the run's events, and may end it.
        schedules: functions of the step by the names of numeric options.
        networks: what makes actors or critics, instead of what the options say.
        sinks: what metrics are written to, beside the run's own files.
    """
    check_callbacks(callbacks)
    check_sinks(sinks)
    if source is None:
        source = config.env.id
    if source is None:
        raise ConfigError(
            "no environment was named: give an id such as Pendulum-v1 (`qmu envs` lists them)"
        )
    if isinstance(source, str):
        config = options.replace(config, "env", id=source)
    tell = warn if console is None else console.tell
    heard = handlers()
    with WorkingFolder() as home:
        config, maker = prepare(config, source)
        if config.train.total_episodes is None:
            config = options.replace(config, "train", total_steps=options.total_steps(config))
        with contextlib.closing(maker):
            maker = centred(maker) if config.env.normalize_obs else maker
            config, lowered = with_room(config, maker, len(members_of(config, arms or {})))
            if lowered is not None:
                tell(lowered)
            trainer = Trainer(config, maker, arms, schedules, networks)
        try:
            record = open_record(trainer, home, tell, sinks)
            with locked(record.directory):
                return conduct(trainer, record, source, console, callbacks, heard)
        finally:
            trainer.close()


def prepare(config: Config, source: Source) -> tuple[Config, Maker]:
    """Return the resolved configuration and the maker of the worlds."""
    if config.env.single and config.env.on_error == "restart" and isinstance(source, gym.Env):
        raise ConfigError(
            "--env.on-error restart makes another world in the place of the only one, which was "
            "given as it is: give a function that makes it, or leave the option out"
        )
    be_ready(config.env)
    maker = maker_of(source, config.env)
    if maker.vector is not None:
        check_ready_made(config.env, config.train.seeds)
        config = options.replace(config, "env", count=maker.vector.num_envs)
        checks.check(config)
    check_saves(config, maker.name, maker.longest)
    return config, maker


def conduct(
    trainer: Trainer,
    record: Record,
    source: Source,
    console: Any,
    callbacks: Sequence[Callback],
    heard: Handlers,
) -> Run:
    """Train until the run's end, close the trainer, and return the run.

    `source` has made its worlds, and `heard` are the handlers of signals that there were before.
    It raises what `go_through` does.
    """
    if console is not None:
        console.start(trainer, record)
    config = trainer.config
    end = options.total_steps(config)
    listeners = Listeners(callbacks, trainer, end, record.last)
    work = partial(trainer.run, end - trainer.step, config.train.total_episodes)
    try:
        go_through(trainer, record, work, console, listeners, heard)
    finally:
        record.close()
        if console is not None:
            console.stop()
        trainer.close()
    wrappers = config.env.wrappers
    run = Run(record.directory, source, wrappers=wrappers, networks=trainer.networks)
    if console is not None:
        console.summary(run)
    return run


def go_through(
    trainer: Trainer,
    record: Record,
    work: Work,
    console: Any,
    listeners: Listeners,
    heard: Handlers,
) -> None:
    """Train as `work` does, evaluate, save and score, and write down how it has ended.

    `heard` are the handlers of signals before there was a world.

    Raises:
        KeyboardInterrupt: of Ctrl-C; what had been learned is saved.
        StoppedError: of another signal that asks to stop; what had been learned is saved.
        LostRunError: the run's directory is gone.
        UnsavedError: the run came to its end, and something of it could not be written.
    """
    config = trainer.config

    def again() -> str:
        return f"go on with: {how_to_go_on(record.directory, config, trainer.described())}"

    def hanging() -> str:
        left = again() if record.saved_at else what_is_saved(trainer, record)
        return f"qmu: the environment hangs where nothing can interrupt it. {left}"

    with trainer.guard.watched(hanging), Signals(record.tell, heard) as signals:
        record.camera.stopped = signals.stopped
        record.break_off = lambda: signals.check(f" at step {trainer.step}")
        try:
            learn_and_record(trainer, record, work, console, signals, listeners)
            lost = record.finish("finished", stopped=listeners.why())
        except LostRunError:
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                record.finish("interrupted")
            elif isinstance(error, QmuError):
                record.finish(error.status, str(error))
            else:
                record.finish("failed", told(error))
            error.add_note(what_is_saved(trainer, record))
            if record.saved_at:
                error.add_note(again())
            raise
        # Whoever has asked for an end does not want what would come after this one.
        try:
            signals.check(f" at step {trainer.step}, where the run has ended")
        except BaseException as error:
            error.add_note(f"the run is whole: {shown(record.directory)}")
            raise
    if lost is not None:
        unsaved = UnsavedError(f"the run came to its end, and {lost}")
        unsaved.add_note(what_is_saved(trainer, record))
        if record.saved_at not in (0, trainer.step):
            unsaved.add_note(again())
        raise unsaved


def what_is_saved(trainer: Trainer, record: Record) -> str:
    """Return what is left of a run that has ended early, in words."""
    place = shown(record.directory)
    if record.saved_at == trainer.step and trainer.step > 0:
        return f"what was learned until then is saved in {place}"
    if record.saved_at:
        return f"what was learned until step {record.saved_at} is saved in {place}"
    return f"there is no checkpoint; what there is is in {place}"


def learn_and_record(
    trainer: Trainer,
    record: Record,
    work: Work,
    console: Any,
    signals: Signals,
    listeners: Listeners,
) -> None:
    """Train as `work` does, until a signal or a callback ends it; write down what happens."""
    config = trainer.config

    def hear(event: Event) -> None:
        record.hear(event)
        if console is not None:
            console.hear(event)
        listeners.hear(event)
        if isinstance(event, Due):
            tell_of_save()

    def tell_of_save() -> None:
        # A full disk may have taken none.
        if record.saved_at == trainer.step:
            listeners.saved(store.complete(record.directory / CHECKPOINTS)[0])

    try:
        for event in work(stopped=signals.or_stopped(listeners.stopped)):
            hear(event)
    except LostError:
        # A worker that says nothing any more holds up nobody who wants the run to end.
        if signals.received is None:
            raise
    evaluated = record.evaluated_at == trainer.step or not config.train.eval_interval
    if not signals.stopped() and not evaluated:
        hear(trainer.evaluate())
        for event in trainer.troubles():
            hear(event)
    signals.check(f" at step {trainer.step}")
    if record.saved_at != trainer.step:
        record.save_rest()
        tell_of_save()
