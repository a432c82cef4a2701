"""What the commands take, as records: each option once, with its help.

tyro reads them. It is imported here, so this file is imported inside the commands.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import tyro

from qmu import config as options
from qmu.config.spelling import NONE
from qmu.config.tables import Table
from qmu.config.workers import Workers

Form = TypeVar("Form")


@dataclasses.dataclass
class OfRun:
    """Something about a run."""

    run: Annotated[
        Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN", help="the run's directory")
    ]


@dataclasses.dataclass
class OfRuns:
    """Something about several runs, or a study."""

    paths: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="RUN|STUDY", help="directories of runs, or of one study"),
    ]


@dataclasses.dataclass
class OfPolicy(OfRun):
    """Something about a run's policy, in the run's world or in another."""

    seed: Annotated[
        int | None, tyro.conf.arg(help="the member's seed; none: the best of all members")
    ] = None
    env: Annotated[str | None, tyro.conf.arg(help="an environment's id; none: the run's own")] = (
        None
    )
    kwargs: Annotated[
        str | None,
        tyro.conf.arg(help="its keyword arguments, as TOML; none: the run's, for its own id"),
    ] = None
    wrappers: Annotated[
        tuple[str, ...] | None,
        tyro.conf.arg(help="the wrappers around it, the run's again or others"),
    ] = None


@dataclasses.dataclass
class Train:
    """Train a policy and keep the best one of every seed."""

    environment: Annotated[
        str | None,
        tyro.conf.Positional,
        tyro.conf.arg(metavar="ENV", help="the environment's id, such as Pendulum-v1"),
    ] = None
    preset: Annotated[
        str | None,
        tyro.conf.arg(
            metavar="NAME",
            help="recipe to start from: a name that `qmu presets` lists, a TOML file, or auto "
            "for the environment's own",
        ),
    ] = None
    config: Annotated[
        Path | None,
        tyro.conf.arg(help="TOML file of options, such as a run's config.toml"),
    ] = None


@dataclasses.dataclass
class Rest:
    """What may be changed about the rest of the run."""

    total_steps: Annotated[
        int | None, tyro.conf.arg(help="a new end of the run; none: its own")
    ] = None
    total_episodes: Annotated[
        int | None, tyro.conf.arg(help="a new number of episodes; none: its own")
    ] = None
    schedule_steps: Annotated[
        int | None,
        tyro.conf.arg(help="a new horizon of learning rates and noise; none: its own"),
    ] = None


@dataclasses.dataclass
class Resume(OfRun):
    """Go on with a run from its newest checkpoint, to its end or beyond."""

    exact: Annotated[
        bool,
        tyro.conf.arg(
            help="go back to the newest scheduled checkpoint, where a later one was forced"
        ),
    ] = False
    salvage: Annotated[
        bool,
        tyro.conf.arg(help="where rows of the stream are damaged, go on with those that are left"),
    ] = False
    env: Annotated[
        str | None,
        tyro.conf.arg(help="the environment, where its id needs a module: module:id"),
    ] = None
    wrappers: Annotated[
        tuple[str, ...] | None,
        tyro.conf.arg(help="the run's wrappers again, where it has some"),
    ] = None
    train: Rest = dataclasses.field(default_factory=Rest)


@dataclasses.dataclass
class Evaluate(OfPolicy):
    """Measure the best policy of a run on episodes that it has not been chosen on."""

    episodes: Annotated[int, tyro.conf.arg(help="episodes to measure")] = 20
    render: Annotated[bool, tyro.conf.arg(help="show the episodes in a window")] = False


@dataclasses.dataclass
class Play(OfPolicy):
    """Show the best policy of a run in a window, or write a video of it."""

    episodes: Annotated[int, tyro.conf.arg(help="episodes to show")] = 1
    steps: Annotated[int, tyro.conf.arg(help="steps of an episode that are shown at most")] = 1000
    video: Annotated[
        Path | None,
        tyro.conf.arg(help="an .mp4 file to write, instead of a window; needs no display"),
    ] = None
    first_seed: Annotated[
        int | None, tyro.conf.arg(help="the first episode's seed; none: that of `qmu eval`")
    ] = None


@dataclasses.dataclass
class Check:
    """Step a world with random actions: say what it is, and what is wrong with it."""

    environment: Annotated[
        str,
        tyro.conf.Positional,
        tyro.conf.arg(metavar="ENV", help="the environment's id, such as Pendulum-v1"),
    ]
    steps: Annotated[int, tyro.conf.arg(help="steps to take")] = 2_000
    seed: Annotated[int, tyro.conf.arg(help="seed of the first episode and of actions")] = 0
    kwargs: Annotated[
        str | None, tyro.conf.arg(help="its keyword arguments, as TOML: '{frame_skip = 4}'")
    ] = None
    wrappers: Annotated[
        tuple[str, ...], tyro.conf.arg(help="wrappers by dotted name, the innermost first")
    ] = ()
    episode_length: Annotated[
        int | None, tyro.conf.arg(help="time limit of an episode; none: its own; 0: no limit")
    ] = None
    single: Annotated[
        bool, tyro.conf.arg(help="make one world in all; what takes two of them is left out")
    ] = False
    repeat: Annotated[int, tyro.conf.arg(help="steps that an action is repeated for")] = 1
    hide: Annotated[
        tuple[str, ...],
        tyro.conf.arg(help="what is taken away of the observations, as with --env.hide"),
    ] = ()
    images: Annotated[
        tuple[str, ...],
        tyro.conf.arg(help="which observations are images: auto, all, none, or names of parts"),
    ] = ("auto",)
    pixels: Annotated[
        int | None, tyro.conf.arg(help="observe the world's pictures, of this size")
    ] = None
    camera: Annotated[str | None, tyro.conf.arg(help="which camera draws them")] = None
    shadows: Annotated[bool, tyro.conf.arg(help="draw them with shadows")] = False
    numbers: Annotated[bool, tyro.conf.arg(help="observe the world's numbers beside them")] = False


@dataclasses.dataclass
class Envs:
    """List the environment ids that can be trained here, by family."""

    family: Annotated[
        str | None,
        tyro.conf.arg(help="only this family: 'classic control', mujoco, ..."),
    ] = None


@dataclasses.dataclass
class Presets:
    """List the recipes, or print one: all its options, and what differs from the defaults."""

    name: Annotated[
        str | None, tyro.conf.Positional, tyro.conf.arg(metavar="NAME", help="a recipe")
    ] = None
    env: Annotated[
        str | None, tyro.conf.arg(metavar="ENV", help="the environment that `auto` is for")
    ] = None


@dataclasses.dataclass
class Study:
    """Compare recipes over seeds and worlds; go on where the study was stopped."""

    name: Annotated[
        str | None,
        tyro.conf.Positional,
        tyro.conf.arg(metavar="NAME", help="a built-in study, or a TOML file"),
    ] = None
    list: Annotated[bool, tyro.conf.arg(help="list the built-in studies")] = False
    dry_run: Annotated[bool, tyro.conf.arg(help="say what would run, and how long it may take")] = (
        False
    )
    dir: Annotated[Path | None, tyro.conf.arg(help="the study's directory; none: studies/NAME")] = (
        None
    )
    env: Annotated[tuple[str, ...], tyro.conf.arg(help="other environments than the study's")] = ()
    seeds: Annotated[int | None, tyro.conf.arg(help="another number of seeds")] = None
    total_steps: Annotated[
        int | None, tyro.conf.arg(help="another number of steps, in every world")
    ] = None
    workers: Annotated[
        int | None,
        tyro.conf.arg(
            help="programs that are trained side by side; none: one, on Ray as many as fit"
        ),
    ] = None
    on: Annotated[
        str | None,
        tyro.conf.arg(
            metavar="ADDRESS",
            help="train on Ray: `ray` (this machine), ray://HOST:PORT, or ray://auto (the cluster "
            "that this machine is a part of); none: in processes of this machine",
        ),
    ] = None
    cpus: Annotated[int, tyro.conf.arg(help="processors of a program on Ray")] = 1
    gpus: Annotated[float, tyro.conf.arg(help="GPUs of a program on Ray, or a part of one")] = 0
    yes: Annotated[bool, tyro.conf.arg(help="train more than 10,000 agents")] = False


@dataclasses.dataclass
class Tune(Train):
    """Search for a better recipe with Ray Tune, and try the best ones on fresh seeds."""

    space: Annotated[
        str | None,
        tyro.conf.arg(
            metavar="NAME",
            help="what is searched: a built-in space, or a TOML file; none: that of a memory, "
            "where there is one, of images, or the environment's family's",
        ),
    ] = None
    trials: Annotated[int, tyro.conf.arg(help="recipes that are tried")] = 20
    grace_steps: Annotated[
        int | None,
        tyro.conf.arg(help="steps before which no trial is stopped early; none: a third of them"),
    ] = None
    score: Annotated[
        str,
        tyro.conf.arg(
            help="what trials are compared by: mean of the seeds, or low, the low end of "
            "its interval"
        ),
    ] = "mean"
    search_seed: Annotated[int, tyro.conf.arg(help="seed of what is drawn")] = 0
    finalists: Annotated[
        int,
        tyro.conf.arg(
            help="of the best recipes, how many are trained again beside the base recipe; 0: there "
            "is no final"
        ),
    ] = 3
    fresh_seeds: Annotated[
        int,
        tyro.conf.arg(help="seeds of that final, and of the re-run of its winner; 0: neither"),
    ] = 5
    list: Annotated[bool, tyro.conf.arg(help="list the built-in spaces")] = False
    dir: Annotated[
        Path | None, tyro.conf.arg(help="the tuning's directory; none: one below tunings")
    ] = None
    resume: Annotated[
        Path | None, tyro.conf.arg(metavar="DIR", help="go on with the tuning in this directory")
    ] = None
    on: Annotated[
        str,
        tyro.conf.arg(
            metavar="ADDRESS",
            help="where Ray is: `ray` (this machine), ray://HOST:PORT, or ray://auto (the cluster "
            "that this machine is a part of)",
        ),
    ] = "ray"
    storage: Annotated[
        str | None,
        tyro.conf.arg(help="a folder that all nodes see, or s3://...; none: in the directory"),
    ] = None
    workers: Annotated[
        int | None, tyro.conf.arg(help="trials side by side; none: as many as there is room for")
    ] = None
    cpus: Annotated[int, tyro.conf.arg(help="processors of a trial")] = 1
    gpus: Annotated[float, tyro.conf.arg(help="GPUs of a trial, or a part of one")] = 0


@dataclasses.dataclass
class Compare(OfRuns):
    """Put runs beside each other, or show what a study has found so far."""


@dataclasses.dataclass
class Report(OfRuns):
    """Write a report of runs, or of a study: an HTML file that needs no network."""

    out: Annotated[
        Path | None,
        tyro.conf.arg(help="the folder that it is written into; none: the first directory"),
    ] = None
    markdown: Annotated[bool, tyro.conf.arg(help="write Markdown instead, without pictures")] = (
        False
    )
    csv: Annotated[bool, tyro.conf.arg(help="write every evaluation instead, as a table")] = False


@dataclasses.dataclass
class Export:
    """Write a policy as one file, compare it with the trained actor, and describe it."""

    run: Annotated[
        Path,
        tyro.conf.Positional,
        tyro.conf.arg(metavar="RUN", help="the run's directory, or a policy's folder in it"),
    ]
    out: Annotated[
        Path,
        tyro.conf.Positional,
        tyro.conf.arg(metavar="FILE", help="the file: .npz (NumPy), .onnx, or .pt (PyTorch)"),
    ]
    seed: Annotated[
        int | None, tyro.conf.arg(help="the member's seed; none: the best of all members")
    ] = None


@dataclasses.dataclass
class Doctor(OfRun):
    """Say what is wrong with a run, how sure that is, and which option to try."""


def read(form: type[Form], command: str, words: Sequence[str], default: Form | None = None) -> Form:
    """Return a command's words as its form; a wrong word is said, and the program ends with 2."""
    usual = tyro.MISSING_NONPROP if default is None else default
    # All help is in the fields; looking for comments beside them takes as long as the rest.
    only_fields = (tyro.conf.HelptextFromCommentsOff,)
    args = with_none(words, set(may_be_none(form)))
    return tyro.cli(form, prog=f"qmu {command}", args=args, default=usual, config=only_fields)


def may_be_none(form: Any, before: str = "") -> Iterator[str]:
    """Yield the options of a form that can be off, as they are typed.

    Of a text it is said where `none` is no name.
    """
    kinds, told = get_type_hints(form), get_type_hints(form, include_extras=True)
    for option in dataclasses.fields(form):
        kind, path = kinds[option.name], f"{before}{option.name}"
        if dataclasses.is_dataclass(kind):
            yield from may_be_none(kind, f"{path}.")
        elif type(None) in get_args(kind):
            helps = [getattr(one, "help", None) or "" for one in get_args(told[option.name])[1:]]
            if str not in get_args(kind) or any("none:" in one for one in helps):
                yield f"--{path.replace('_', '-')}"


def with_none(words: Sequence[str], options: Set[str]) -> list[str]:
    """Return words in which `none`, in whichever case, is spelled as Python does, after options."""
    spelled = []
    for before, word in itertools.pairwise(["", *words]):
        name, equals, value = word.partition("=")
        if equals and value.lower() == NONE and name.replace("_", "-") in options:
            word = f"{name}=None"
        elif word.lower() == NONE and before.replace("_", "-") in options:
            word = "None"
        spelled.append(word)
    return spelled


def with_groups(form: type[Train], groups: Mapping[str, Any]) -> Any:
    """Return a form with all groups of options."""
    fields = [(group, own, dataclasses.field()) for group, own in groups.items()]
    whole = dataclasses.make_dataclass(form.__name__, fields, bases=(form,), kw_only=True)
    whole.__doc__ = form.__doc__
    return whole


def group_form(group: str) -> Any:
    """Return a group's options as a form for the command line, with their help."""
    record = options.GROUPS[group]
    kinds = get_type_hints(record)
    # What has a text for its value is typed as text.
    typed = {Table | None: str | None, Workers: str}
    fields = [
        (
            option.name,
            Annotated[typed.get(kind, kind), tyro.conf.arg(help=option.metadata["help"])],
        )
        for option in dataclasses.fields(record)
        for kind in [kinds[option.name]]
    ]
    form = dataclasses.make_dataclass(record.__name__, fields)
    form.__doc__ = record.__doc__
    return form
