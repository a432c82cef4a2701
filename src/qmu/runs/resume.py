"""Going on with a run from one of its checkpoints."""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qmu import config as options
from qmu.agent.custom import Networks
from qmu.config import Config, checks, reading
from qmu.config.members import Arms
from qmu.config.spelling import spelled
from qmu.config.workers import Workers
from qmu.errors import ConfigError, warn
from qmu.learning.callbacks import Callback, check_callbacks
from qmu.learning.custom import check_networks
from qmu.learning.loop import Trainer
from qmu.learning.provisions import check_disk, written_bytes
from qmu.learning.schedules import Schedule, check_again
from qmu.learning.statistics import OLD, is_old
from qmu.places import WorkingFolder, shown
from qmu.records.described import goes_on
from qmu.records.directory import (
    CHECKPOINTS,
    CONFIG_FILE,
    RUN_FILE,
    describe,
    write_config,
    write_json,
)
from qmu.runs import checkpoint
from qmu.runs.lock import locked
from qmu.runs.record import Record, equip
from qmu.runs.results import Run, open_run
from qmu.runs.train import conduct, prepare
from qmu.saving import storage, store
from qmu.saving.storage import DamagedError
from qmu.saving.store import Checkpoint
from qmu.signals import handlers
from qmu.watching.logbook import Tell
from qmu.watching.sinks import Sink, check_sinks
from qmu.world.centre import read_centre
from qmu.world.declared import declared, misfits, others
from qmu.world.make import Maker, Source
from qmu.world.named import check_id_in_file, check_wrappers_again

# Structural options that may change between a checkpoint and its resumption: none of them changes
# what is learned. `log.interval` does: chunks end at its multiples.
MAY_CHANGE = {
    ("env", "id"),  # compared by what it makes
    ("env", "cluster"),
    ("env", "render"),
    ("train", "total_steps"),
    ("train", "total_episodes"),
    ("train", "schedule_steps"),
    ("train", "final_episodes"),
    ("train", "keep_checkpoints"),
    ("train", "device"),
} | {("log", name) for name in vars(options.Log()) if name != "interval"}


def resume(
    directory: str | Path,
    *,
    total_steps: int | None = None,
    total_episodes: int | None = None,
    schedule_steps: int | None = None,
    env: Source | None = None,
    wrappers: Sequence[str] | None = None,
    exact: bool = False,
    salvage: bool = False,
    progress: bool = False,
    callbacks: Sequence[Callback] = (),
    schedules: Mapping[str, Schedule] | None = None,
    networks: Networks | None = None,
    sinks: Sequence[Sink] = (),
) -> Run:
    """Go on with a run from its newest checkpoint, to its end or beyond; return it.

    From a scheduled checkpoint, on the same machine's CPU and in a world that is deterministic
    after `reset(seed)`, the run is bit for bit the one that was never interrupted.

    Args:
        directory: the run's.
        total_steps: a new end, instead of `train.total_steps`.
        total_episodes: a new number of episodes, instead of `train.total_episodes`.
        schedule_steps: a new horizon of learning rates and noise, instead of the run's.
        env: the environment, where it has no id, or one that needs a module; the same as before.
        wrappers: the dotted names of the run's wrappers, if it has some; the same as before.
        exact: go back to the newest checkpoint of the schedule, where a later one was forced by a
            signal or an error.
        salvage: go on with the rows of the stream that are left, where others are damaged and no
            checkpoint is whole.
        progress: show a live display, as the command line does.
        callbacks: what is told of the rest of the run, and may end it, as in `qmu.train`.
        schedules: functions of the step; those that the run had have to be given again.
        networks: the same as before, if the run has networks of its own.
        sinks: what the rest of the metrics is written to, too, as in `qmu.train`.

    Raises:
        ConfigError: not a run, nothing to go on from, nothing left to do, something changed that
            must not, or another process is training it; nothing was written.
        WorldError: an environment failed; what had been learned is saved.
    """
    given = {
        "total_steps": total_steps,
        "total_episodes": total_episodes,
        "schedule_steps": schedule_steps,
    }
    check_sinks(sinks)
    changes = {name: value for name, value in given.items() if value is not None}
    console: Any = None
    if progress:
        from qmu.watching.console import Console

        console = Console()
    check_callbacks(callbacks)
    run = open_run(directory)
    tell = warn if console is None else console.tell
    heard = handlers()
    for link in storage.links_in(run.directory):
        raise ConfigError(f"{link} is a link, and a run's directory holds none: remove it")
    with WorkingFolder(), locked(run.directory):
        saved = newest(run.directory, exact, tell, salvage)
        before = frozen(config_of(saved), config_of(saved))
        if not before.train.save_rows:
            tell_refilled(run.directory, exact, tell)
        config = resumed_config(run, before, changes)
        source = source_of(run, config, env)
        way_out = "name them again with --wrappers, in Python as wrappers=[...]"
        check_wrappers_again(config.env.wrappers, wrappers, run.directory / CONFIG_FILE, way_out)
        way_out = "in Python, as qmu.resume(..., schedules={...})"
        check_again(run.directory, saved.state.get("schedules", []), schedules, way_out)
        way_out = "in Python, as qmu.resume(..., networks=...)"
        check_networks(run.directory, saved.state.get("networks", []), networks, way_out)
        config, maker = prepare(config, source)
        with contextlib.closing(maker):
            maker = maker.around(centre_of(saved, maker))
            trainer = Trainer(config, maker, arms_of(saved), schedules, networks)
        try:
            other = changes_of_world(trainer, saved)
            check_work_left(trainer, saved, run, changes)
            record = restored(run, trainer, saved, other, tell, sinks)
            if console is not None:
                console.say(f"going on from step {trainer.step:,} ({shown(saved.path)})")
                for line in reading.differences(config, before):
                    console.say(f"changed: {line}")
            return conduct(trainer, record, source, console, callbacks, heard)
        finally:
            trainer.close()


def tell_refilled(directory: Path, exact: bool, tell: Tell) -> None:
    """Tell that a run whose checkpoints hold no rows fills its stream again.

    Raises:
        ConfigError: it was to go on exactly.
    """
    if exact:
        raise ConfigError(
            f"--exact: the checkpoints of {directory} hold no rows of the stream "
            "(--train.no-save-rows), and without them a run does not go on exactly: leave it out"
        )
    tell(
        "its checkpoints hold no rows of the stream (--train.no-save-rows): it is filled again "
        "before anything is learned, and the run is another one from here on"
    )


def newest(directory: Path, exact: bool, tell: Tell, salvage: bool = False) -> Checkpoint:
    """Return the newest checkpoint that is undamaged, of the schedule if `exact`.

    With `salvage`, where there is none, the newest one but for the rows of its stream.

    Raises:
        ConfigError: there is none.
    """
    damaged = []
    for path in store.complete(directory / CHECKPOINTS):
        try:
            found = store.read_checkpoint(path)
        except DamagedError as error:
            damaged.append(path)
            tell(f"the checkpoint {path} is damaged, looking for the one before: {error}")
            continue
        if found.scheduled or not exact:
            return found
    found_anyway = rest_of(damaged)
    if found_anyway is not None and salvage and not exact:
        tell(
            f"{found_anyway.lost} rows of the stream are damaged: the run goes on with those after "
            "them, and is another one from here on"
        )
        return found_anyway
    if found_anyway is not None:
        raise ConfigError(
            f"all checkpoints of {directory} lack rows of the stream, {found_anyway.lost} of them "
            "the newest one; its agents and optimizers are whole: --salvage (in Python "
            "salvage=True, and not exact) goes on with the rows that are left"
        )
    if damaged:
        raise ConfigError(
            f"all checkpoints of {directory} are damaged; its policies may be whole: see "
            f"{damaged[0]}"
        )
    which = "no checkpoint of its schedule (leave out --exact)" if exact else "no checkpoint yet"
    raise ConfigError(f"{directory} has {which}: there is nothing to go on from")


def rest_of(damaged: Sequence[Path]) -> Checkpoint | None:
    """Return the first checkpoint that is whole but for rows of its stream; None if none is."""
    for path in damaged:
        with contextlib.suppress(DamagedError):
            return store.read_checkpoint(path, salvage=True)
    return None


def config_of(saved: Checkpoint) -> Config:
    """Return the configuration that a checkpoint was written with.

    Raises:
        ConfigError: it is none.
    """
    try:
        return reading.from_dict(saved.state["config"])
    except (KeyError, TypeError, ConfigError) as error:
        raise ConfigError(f"the configuration in {saved.path} is damaged: {error}") from None


def arms_of(saved: Checkpoint) -> Arms:
    """Return the arms of a checkpoint's run.

    Raises:
        ConfigError: they are none.
    """
    arms = saved.state.get("arms", {})
    if not isinstance(arms, dict) or not all(isinstance(one, dict) for one in arms.values()):
        raise ConfigError(f"the arms in {saved.path} are damaged")
    return arms


def centre_of(saved: Checkpoint, maker: Maker) -> Any:
    """Return what observations have for a centre; None, if they have none.

    Raises:
        ConfigError: it is damaged.
    """
    held = saved.state.get("centre")
    try:
        return None if held is None else read_centre(held, maker.spaces)
    except (TypeError, ValueError):
        raise ConfigError(f"the centre of observations in {saved.path} is damaged") from None


def frozen(config: Config, before: Config) -> Config:
    """Return a configuration in which what follows from the run's length is what it was before."""
    if config.train.schedule_steps is None:
        horizon = options.schedule_steps(before)
        config = options.replace(config, "train", schedule_steps=horizon or 0)
    if config.explore.start_steps is None:
        config = options.replace(config, "explore", start_steps=options.start_steps(before))
    return config


def resumed_config(run: Run, before: Config, changes: Mapping[str, Any]) -> Config:
    """Return the configuration to go on with: the run's file, changes on top.

    Raises:
        ConfigError: the file says something else than before about what shapes a run.
    """
    config = frozen(run.config, before)
    train = reading.read_group("train", vars(config.train) | dict(changes))
    config = dataclasses.replace(config, train=train)
    changed = []
    both = options.resolved(before), options.resolved(config)
    for group, option in options.options():
        was, now = (shape_of(getattr(getattr(one, group), option.name)) for one in both)
        # A number that appears or goes away changes the program.
        shaping = options.shapes(option) or (was is None) != (now is None)
        if shaping and (group, option.name) not in MAY_CHANGE and was != now:
            changed.append(f"{options.flag(group, option.name)} was {spelled(was)}")
    if changed:
        raise ConfigError(
            f"{run.directory / CONFIG_FILE} has changed since the checkpoint was written: "
            f"{', '.join(changed)}. Such options shape a run: put them back, or begin a new one"
        )
    if config.train.total_steps is None and config.train.total_episodes is None:
        raise ConfigError(
            f"{run.directory} is a model's, which was not asked for enough steps to learn in, and "
            "names no end: give one, such as --train.total-steps 10000"
        )
    checks.check(config)
    return config


def shape_of(value: Any) -> Any:
    """Return what of an option's value shapes a run: of workers, how many there are."""
    return value.number if isinstance(value, Workers) else value


def source_of(run: Run, config: Config, env: Source | None) -> Source:
    """Return what makes the run's worlds."""
    if env is not None:
        return env
    if config.env.id is None:
        raise ConfigError(
            f"{run.directory} was trained in an environment without an id: give it, in Python, as "
            "qmu.resume(..., env=...)"
        )
    way_out = "give it with --env, in Python as env=..."
    check_id_in_file(config.env.id, run.directory / CONFIG_FILE, way_out)
    return config.env.id


def changes_of_world(trainer: Trainer, saved: Checkpoint) -> list[str]:
    """Return in words what the environment declares otherwise than it did.

    Raises:
        ConfigError: it is no longer one that the networks fit.
    """
    now = declared(trainer.maker.spaces, trainer.maker.longest)
    try:
        before = saved.state["spaces"]
        renamed = [] if before["name"] == now["name"] else [f"it was {before['name']}"]
        unfit, other = [*renamed, *misfits(before, now)], others(before, now)
    except (KeyError, TypeError, ValueError):
        raise ConfigError(f"what {saved.path} says of its environment is damaged") from None
    if unfit:
        raise ConfigError(
            f"{now['name']} has changed since the checkpoint {saved.path} was written: "
            f"{'; '.join(unfit)}. Give the run's own environment, or begin a new run"
        )
    return other


def check_work_left(
    trainer: Trainer, saved: Checkpoint, run: Run, changes: Mapping[str, Any]
) -> None:
    """Raise ConfigError if the run is at its end already, or would learn nothing more."""
    config, step = trainer.config, int(saved.state["step"])
    total, horizon = options.total_steps(config), options.schedule_steps(config)
    ends = {"actor.lr": config.actor.lr_end, "critic.lr": config.critic.lr_end}
    rates = ends.keys() - trainer.schedules.names
    falling = horizon is not None and any(ends[rate] == 0 for rate in rates)
    episodes, wanted = min(saved.state["episodes"]), config.train.total_episodes
    ended = step >= total or (wanted is not None and episodes >= wanted)
    # A run that was killed at its very end still has to be scored.
    if ended and (changes or run.info.get("status") == "finished"):
        both = f" --train.schedule-steps {2 * step}" if falling else ""
        end = f"--train.total-steps {2 * step}{both}"
        if wanted is not None and episodes >= wanted:
            end = f"--train.total-episodes {2 * wanted}"
        raise ConfigError(
            f"{run.directory} is at step {step}, after {episodes} episodes: its end has been "
            f"reached. Give a later one, such as {end}"
        )
    if falling and horizon is not None and horizon <= step < total:
        raise ConfigError(
            f"the learning rates of {run.directory} have fallen to 0 at step {horizon}: give "
            f"--train.schedule-steps {total}, too; they are then what they would be at step "
            f"{step} of that many"
        )


def restored(
    run: Run,
    trainer: Trainer,
    saved: Checkpoint,
    other: Sequence[str],
    tell: Tell,
    sinks: Sequence[Sink] = (),
) -> Record:
    """Make trainer and record what was saved, and say in the run's files that it goes on.

    In a world that declares something else, the best policy starts anew: scores of other worlds
    cannot be compared.
    """
    check_disk(trainer, run.directory, written_bytes(run.directory))
    record = Record(run.directory, trainer, tell, equip(trainer), sinks)
    try:
        checkpoint.restore(trainer, saved)
        if trainer.learner.statistics is not None and is_old(trainer.learner.statistics):
            tell(OLD)
        record.restore(saved)
        if other:
            record.forget_best()
            tell(
                f"{trainer.maker.name} has changed since step {trainer.step:,} "
                f"({'; '.join(other)}): evaluations are of another kind from here on, so that the "
                f"best policy starts anew; the best until then is in {shown(saved.path)}"
            )
        write_resumption(run, trainer, saved, other)
        record.open()
    except DamagedError as error:
        record.close()
        raise ConfigError(str(error)) from None
    except OSError as error:
        record.close()
        raise ConfigError(f"{run.directory} cannot be written to: {error}") from None
    return record


def write_resumption(run: Run, trainer: Trainer, saved: Checkpoint, other: Sequence[str]) -> None:
    """Write into the run's files that it goes on, with what, and by which process."""
    write_config(run.directory, trainer.config)
    now = describe(trainer.maker.spaces.name)
    info = run.info
    again = {
        "step": trainer.step,
        "from": saved.path.name,
        **{name: now[name] for name in ("started", "command", "versions")},
    } | ({"world_changed": list(other)} if other else {})
    again |= {"lost_rows": saved.lost} if saved.lost else {}
    resumed = [*info.get("resumed", []), again]
    described = goes_on(info) | trainer.described() | {"resumed": resumed}
    write_json(run.directory / RUN_FILE, described)
