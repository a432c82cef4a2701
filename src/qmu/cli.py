"""argv -> config -> a call -> something printed. No logic.

The numerical libraries are imported inside the commands: `qmu --help` must not wait for them.
"""

import dataclasses
import io
import itertools
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from qmu import config as options
from qmu import configure
from qmu.errors import ConfigError, QmuError
from qmu.tables import Table

USAGE = """usage: qmu COMMAND ...

Deterministic policies for continuous control: DDPG and its family, fast.

commands:
  train ENV    train a policy; `qmu train --help` lists every option
  resume RUN   go on with a run from its newest checkpoint
  eval RUN     measure the best policy of a run on new episodes
  play RUN     show the best policy of a run in a window, or write a video of it
  check ENV    step a world with random actions: what it is, what is wrong with it
  envs         list the environment ids that can be trained here, by family
  presets      list the recipes; `qmu presets NAME` prints one
  study NAME   compare recipes over seeds and worlds; `qmu study --list` shows the built-in ones
  compare RUN  put runs beside each other, or show what a study has found
  doctor RUN   say what is wrong with a run, and what to try
  export RUN   write its best policy as one file for NumPy, ONNX or PyTorch
  report RUN   write that, with curves, as a page that needs no network

examples:
  qmu train Pendulum-v1
  qmu train Hopper-v5 --preset td3 --target.tau 0.01
  qmu train HalfCheetah-v5 --seeds 3 --train.total-steps 100000 --actor.lr 3e-4
  qmu resume runs/Pendulum-v1/ddpg-20261120-101500-k3f9
  qmu eval runs/Pendulum-v1/ddpg-20261120-101500-k3f9 --episodes 20
  qmu play runs/Pendulum-v1/ddpg-20261120-101500-k3f9 --video out.mp4

  --help       this page
  --version    the version
"""

# The short spellings of the options that are typed most.
SHORTCUTS = {"--seed": "--train.seed", "--seeds": "--train.seeds", "--render": "--env.render"}
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, 1 for a failure, 2 for a wrong request."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that knows no ± gets a question mark, not the end of the run.
            stream.reconfigure(errors="replace")
    if not words or words[0] in ("--help", "-h", "help"):
        print(USAGE, end="")
        return 0 if words else 2
    if words[0] == "--version":
        from qmu import __version__

        print(f"qmu {__version__}")
        return 0
    commands: dict[str, Callable[[list[str]], int | None]] = {
        "train": train,
        "resume": resume,
        "eval": evaluate,
        "play": play,
        "check": check,
        "envs": envs,
        "presets": presets,
        "study": study,
        "compare": compare,
        "report": report,
        "export": export,
        "doctor": doctor,
    }
    try:
        if words[0] not in commands:
            raise ConfigError(
                f"there is no command {words[0]!r}{configure.nearest(words[0], commands)}"
            )
        return commands[words[0]](words[1:]) or 0
    except QmuError as error:
        print(error.told(), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as error:
        print("; ".join(["qmu: interrupted", *getattr(error, "__notes__", [])]), file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has gone, as `head` does; nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def train(words: list[str]) -> None:
    """Train a policy as the options say."""
    import tyro

    @dataclasses.dataclass
    class Form:
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

    forms = [(group, group_form(group), dataclasses.field()) for group in options.GROUPS]
    whole = dataclasses.make_dataclass("Form", forms, bases=(Form,), kw_only=True)
    whole.__doc__ = Form.__doc__
    written = [expand(word) for word in words]
    check_sizes(written)

    def parsed(base: options.Config) -> Any:
        given = {group: make(**vars(getattr(base, group))) for group, make, _ in forms}
        return tyro.cli(whole, prog="qmu train", args=written, default=whole(**given))

    # What is typed goes on top of the files, whose names are typed too.
    first = parsed(options.Config())
    arguments = parsed(base_of(first)) if first.preset or first.config else first
    values = {group: vars(getattr(arguments, group)) for group in options.GROUPS}
    if arguments.environment is not None:
        values["env"]["id"] = arguments.environment
    config = configure.from_dict(values)
    from qmu.training.console import Console
    from qmu.training.run import train_config
    from qmu.world.named import check_id_in_file, check_wrappers_in_file

    file, way_out = arguments.config or arguments.preset, "give it on the command line"
    if not (arguments.environment or is_typed("--env.id", written)):
        check_id_in_file(config.env.id, file, way_out)
    if not is_typed("--env.wrappers", written):
        check_wrappers_in_file(config.env.wrappers, file, way_out.replace("it", "them"))
    train_config(config, console=Console())


def resume(words: list[str]) -> None:
    """Go on with a run."""
    import tyro

    @dataclasses.dataclass
    class Train:
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
    class Form:
        """Go on with a run from its newest checkpoint, to its end or beyond."""

        run: Annotated[
            Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN", help="the run's directory")
        ]
        exact: Annotated[
            bool,
            tyro.conf.arg(
                help="go back to the newest scheduled checkpoint, where a later one was forced"
            ),
        ] = False
        env: Annotated[
            str | None,
            tyro.conf.arg(help="the environment, where its id needs a module: module:id"),
        ] = None
        wrappers: Annotated[
            tuple[str, ...] | None,
            tyro.conf.arg(help="the run's wrappers again, where it has some"),
        ] = None
        train: Train = dataclasses.field(default_factory=Train)

    form = tyro.cli(Form, prog="qmu resume", args=words)
    from qmu.training.resume import resume as resume_run

    resume_run(
        form.run,
        exact=form.exact,
        env=form.env,
        wrappers=form.wrappers,
        progress=True,
        **vars(form.train),
    )


def evaluate(words: list[str]) -> None:
    """Measure a run's best policy on new episodes."""
    import tyro

    @dataclasses.dataclass
    class Form:
        """Measure the best policy of a run on episodes that it has not been chosen on."""

        run: Annotated[
            Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN", help="the run's directory")
        ]
        episodes: Annotated[int, tyro.conf.arg(help="episodes to measure")] = 20
        seed: Annotated[
            int | None, tyro.conf.arg(help="the member's seed; none: the best of all members")
        ] = None
        env: Annotated[
            str | None, tyro.conf.arg(help="an environment's id; none: the run's own")
        ] = None
        kwargs: Annotated[
            str | None,
            tyro.conf.arg(help="its keyword arguments, as TOML; none: the run's, for its own id"),
        ] = None
        wrappers: Annotated[
            tuple[str, ...] | None,
            tyro.conf.arg(help="the wrappers around it, the run's again or others"),
        ] = None
        render: Annotated[bool, tyro.conf.arg(help="show the episodes in a window")] = False

    form = tyro.cli(Form, prog="qmu eval", args=words)
    from qmu.training.console import score_lines
    from qmu.training.results import open_run

    run = open_run(form.run)
    name = form.env or run.info["environment"]
    score = run.evaluate(
        form.episodes,
        env=form.env,
        kwargs=form.kwargs,
        wrappers=form.wrappers,
        seed=form.seed,
        render=form.render,
    )
    print("\n".join(score_lines(name, score)))


def play(words: list[str]) -> None:
    """Show a run's best policy."""
    import tyro

    @dataclasses.dataclass
    class Form:
        """Show the best policy of a run in a window, or write a video of it."""

        run: Annotated[
            Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN", help="the run's directory")
        ]
        episodes: Annotated[int, tyro.conf.arg(help="episodes to show")] = 1
        steps: Annotated[int, tyro.conf.arg(help="steps of an episode that are shown at most")] = (
            1000
        )
        video: Annotated[
            Path | None,
            tyro.conf.arg(help="an .mp4 file to write, instead of a window; needs no display"),
        ] = None
        seed: Annotated[
            int | None, tyro.conf.arg(help="the member's seed; none: the best of all members")
        ] = None
        first_seed: Annotated[
            int | None, tyro.conf.arg(help="the first episode's seed; none: that of `qmu eval`")
        ] = None
        env: Annotated[
            str | None, tyro.conf.arg(help="an environment's id; none: the run's own")
        ] = None
        kwargs: Annotated[
            str | None,
            tyro.conf.arg(help="its keyword arguments, as TOML; none: the run's, for its own id"),
        ] = None
        wrappers: Annotated[
            tuple[str, ...] | None,
            tyro.conf.arg(help="the wrappers around it, the run's again or others"),
        ] = None

    form = tyro.cli(Form, prog="qmu play", args=words)
    from qmu.training.console import episode_lines
    from qmu.training.results import EVAL_SEEDS, open_run

    run = open_run(form.run)
    shown: dict[str, Any] = {
        "env": form.env,
        "kwargs": form.kwargs,
        "wrappers": form.wrappers,
        "seed": form.seed,
        "first_episode_seed": EVAL_SEEDS if form.first_seed is None else form.first_seed,
        "steps": form.steps,
    }
    if form.video is None:
        score = run.play(form.episodes, **shown)
    else:
        score = run.video(form.video, form.episodes, **shown)
        print(f"video   {form.video}")
    print("\n".join(episode_lines(score)))


def check(words: list[str]) -> int:
    """Say what a world is and what is wrong with it; return 1 if it cannot be trained in."""
    import tyro

    @dataclasses.dataclass
    class Form:
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
            int | None, tyro.conf.arg(help="time limit of an episode; none: its own")
        ] = None

    form = tyro.cli(Form, prog="qmu check", args=words)
    from qmu.training.check import check_env

    asked = vars(form)
    checkup = check_env(asked.pop("environment"), **asked)
    print(checkup)
    return 0 if checkup.possible else 1


def envs(words: list[str]) -> None:
    """List the environment ids that can be trained here, by family."""
    import tyro

    @dataclasses.dataclass
    class Form:
        """List the environment ids that can be trained here, by family."""

        family: Annotated[
            str | None,
            tyro.conf.arg(help="only this family: 'classic control', mujoco, ..."),
        ] = None

    form = tyro.cli(Form, prog="qmu envs", args=words)
    from qmu.world.families import absent
    from qmu.world.make import trainable

    families: dict[str, list[str]] = {}
    for family, name in trainable(form.family):
        families.setdefault(family, []).append(name)
    sentences = list(absent(form.family))
    if not families and not sentences:
        raise ConfigError(f"no environment of the family {form.family!r} can be trained here")
    for family, names in families.items():
        print(f"{family}:\n  " + "\n  ".join(names))
    if sentences:
        print("\n".join(sentences))


def presets(words: list[str]) -> None:
    """List the recipes, or print one."""
    import tyro

    @dataclasses.dataclass
    class Form:
        """List the recipes, or print one: all its options, and what differs from the defaults."""

        name: Annotated[
            str | None, tyro.conf.Positional, tyro.conf.arg(metavar="NAME", help="a recipe")
        ] = None
        env: Annotated[
            str | None, tyro.conf.arg(metavar="ENV", help="the environment that `auto` is for")
        ] = None

    form = tyro.cli(Form, prog="qmu presets", args=words)
    from qmu import presets as shelf

    if form.name is None:
        width = max(map(len, shelf.names()))
        for name in shelf.names():
            print(f"{name:{width}}  {shelf.title(name)}")
        print(f"{shelf.AUTO:{width}}  the environment's own: {', '.join(shelf.environments())}")
        return
    import tomli_w

    config = configure.from_dict(shelf.read_preset(form.name, form.env))
    print(tomli_w.dumps(options.to_dict(config)))
    changed = configure.differences(config, options.Config())
    print("\n".join(["# differs from the default in:", *(f"#   {line}" for line in changed)]))


def study(words: list[str]) -> None:
    """Compare recipes."""
    import tyro

    @dataclasses.dataclass
    class Form:
        """Compare recipes over seeds and worlds; go on where the study was stopped."""

        name: Annotated[
            str | None,
            tyro.conf.Positional,
            tyro.conf.arg(metavar="NAME", help="a built-in study, or a TOML file"),
        ] = None
        list: Annotated[bool, tyro.conf.arg(help="list the built-in studies")] = False
        dry_run: Annotated[
            bool, tyro.conf.arg(help="say what would run, and how long it may take")
        ] = False
        dir: Annotated[
            Path | None, tyro.conf.arg(help="the study's directory; none: studies/NAME")
        ] = None
        env: Annotated[
            tuple[str, ...], tyro.conf.arg(help="other environments than the study's")
        ] = ()
        seeds: Annotated[int | None, tyro.conf.arg(help="another number of seeds")] = None
        total_steps: Annotated[
            int | None, tyro.conf.arg(help="another number of steps, in every world")
        ] = None
        workers: Annotated[int, tyro.conf.arg(help="programs that are trained side by side")] = 1
        yes: Annotated[bool, tyro.conf.arg(help="train more than 10,000 agents")] = False

    form = tyro.cli(Form, prog="qmu study", args=words)
    from qmu.study import command, plan

    if form.list and form.name is not None:
        raise ConfigError(
            f"--list shows all built-in studies: leave out {form.name!r}, or give it with "
            "--dry-run instead"
        )
    if form.list:
        width = max(map(len, plan.names()))
        for name in plan.names():
            print(f"{name:{width}}  {plan.title(name)}")
        return
    if form.name is None:
        raise ConfigError("which study? `qmu study --list` shows the built-in ones")
    confirmed = form.yes or form.dry_run
    asked = plan.read_study(form.name, form.env or None, form.seeds, form.total_steps, confirmed)
    if form.dry_run:
        command.dry_run(asked, form.workers)
        return
    directory = form.dir or Path("studies") / asked.name
    command.run_study(asked, directory, form.workers, list(form.env))


def compare(words: list[str]) -> None:
    """Put runs beside each other."""
    import tyro

    @dataclasses.dataclass
    class Form:
        """Put runs beside each other, or show what a study has found so far."""

        paths: Annotated[
            tuple[Path, ...],
            tyro.conf.Positional,
            tyro.conf.arg(metavar="RUN|STUDY", help="directories of runs, or of one study"),
        ]

    form = tyro.cli(Form, prog="qmu compare", args=words)
    from qmu.study import command

    command.compare(list(form.paths))


def report(words: list[str]) -> None:
    """Write a report."""
    import tyro

    @dataclasses.dataclass
    class Form:
        """Write a report of runs, or of a study: an HTML file that needs no network."""

        paths: Annotated[
            tuple[Path, ...],
            tyro.conf.Positional,
            tyro.conf.arg(metavar="RUN|STUDY", help="directories of runs, or of one study"),
        ]
        out: Annotated[
            Path | None,
            tyro.conf.arg(help="the folder that it is written into; none: the first directory"),
        ] = None
        markdown: Annotated[
            bool, tyro.conf.arg(help="write Markdown instead, without pictures")
        ] = False
        csv: Annotated[bool, tyro.conf.arg(help="write every evaluation instead, as a table")] = (
            False
        )

    form = tyro.cli(Form, prog="qmu report", args=words)
    from qmu.study import command

    kinds = [kind for kind in ("markdown", "csv") if getattr(form, kind)]
    command.report(list(form.paths), form.out, kinds or ["html"])


def export(words: list[str]) -> None:
    """Write a policy as one file."""
    import tyro

    @dataclasses.dataclass
    class Form:
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

    form = tyro.cli(Form, prog="qmu export", args=words)
    from qmu.study import command

    command.export(form.run, form.out, form.seed)


def doctor(words: list[str]) -> None:
    """Say what is wrong with a run."""
    import tyro

    @dataclasses.dataclass
    class Form:
        """Say what is wrong with a run, how sure that is, and which option to try."""

        run: Annotated[
            Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN", help="the run's directory")
        ]

    form = tyro.cli(Form, prog="qmu doctor", args=words)
    from qmu.training.doctor import told
    from qmu.training.results import open_run

    print("\n".join(told(open_run(form.run))))


def expand(word: str) -> str:
    """Return a word of the command line with a short spelling written out."""
    name, equals, value = word.partition("=")
    return SHORTCUTS.get(name, name) + equals + value


def is_typed(option: str, words: list[str]) -> bool:
    """Tell whether an option is among the words of the command line."""
    return any(word.partition("=")[0] == option for word in words)


def check_sizes(words: list[str]) -> None:
    """Raise ConfigError for hidden sizes without a number, which would mean a linear network."""
    for word, value in itertools.pairwise([*words, "--"]):
        if word.replace("_", "-").endswith(".hidden-sizes") and value.startswith("--"):
            raise ConfigError(
                f"{word}: give the units of each hidden layer, such as {word} 256 256 (a linear "
                "network is hidden_sizes = [] in a file for --config)"
            )


def base_of(arguments: Any) -> options.Config:
    """Return the configuration that the preset and the file of these arguments amount to."""
    from qmu.presets import read_preset

    values = {} if arguments.config is None else configure.read_toml(arguments.config)
    if arguments.preset is not None:
        named = arguments.environment or arguments.env.id or configure.from_dict(values).env.id
        values = configure.merge(read_preset(arguments.preset, named), values)
    return configure.from_dict(values)


def group_form(group: str) -> Any:
    """Return a group's options as a form for the command line, with their help."""
    import tyro

    record = options.GROUPS[group]
    kinds = get_type_hints(record)
    # A table is typed as text.
    typed = {Table | None: str | None}
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
