"""argv -> config -> a call -> something printed.

The numerical libraries are imported inside the commands: `qmu --help` must not wait for them.
"""

import io
import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qmu import config as options
from qmu.config import reading
from qmu.config.files import read_toml
from qmu.config.former import respelled
from qmu.config.spelling import nearest
from qmu.errors import ConfigError, QmuError
from qmu.output import Output, complain
from qmu.places import absolute

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
  tune ENV     search for a better recipe, and try the best ones on fresh seeds
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
# What may be typed beside `qmu tune --resume`: where it goes on, and what is imported.
BESIDE_RESUME = (
    *("--resume", "--on", "--storage", "--workers", "--cpus", "--gpus"),
    *("--env.id", "--env.wrappers"),
)
INTERRUPTED = 130
# Commands that leave more behind than their output.
LASTING = ("train", "resume", "study", "tune")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, 1 for a failure, 2 for a wrong request."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that knows no ± gets a question mark, not the end of the run.
            stream.reconfigure(errors="replace")
    code = 0
    with Output() as output:
        code = run(words)
    missed = output.missed
    if missed is None or isinstance(missed, BrokenPipeError):
        # Whoever read the output has gone, as `head` does; nothing is left to say.
        return code
    # What a training leaves behind is on another disk; of what others do, the output is all.
    if code == 0 and words[0] not in LASTING:
        complain(f"qmu: the output could not be written: {missed}")
        return 1
    return code


def run(words: list[str]) -> int:
    """Run a command, and say what went wrong; return its exit code."""
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
        "tune": tune,
        "compare": compare,
        "report": report,
        "export": export,
        "doctor": doctor,
    }
    try:
        if words[0] not in commands:
            raise ConfigError(f"there is no command {words[0]!r}{nearest(words[0], commands)}")
        from qmu.signals import interruptible

        with interruptible():
            return commands[words[0]](words[1:]) or 0
    except QmuError as error:
        complain(error.told())
        return error.exit_code
    except KeyboardInterrupt as error:
        complain("; ".join(["qmu: interrupted", *getattr(error, "__notes__", [])]))
        return INTERRUPTED


def train(words: list[str]) -> None:
    """Train a policy as the options say."""
    from qmu import forms

    arguments, config, written = read_recipe(forms.Train, "train", words)
    from qmu.runs.train import train_config
    from qmu.watching.console import Console

    check_files(arguments, config, written)
    train_config(config, console=Console())


def read_recipe(form: Any, command: str, words: list[str]) -> tuple[Any, options.Config, list[str]]:
    """Return what a command was told, the configuration of it, and the words written out.

    What is typed goes on top of the files, whose names are typed too.
    """
    from qmu import forms
    from qmu.presets import DEFAULT, read_preset

    groups = {group: forms.group_form(group) for group in options.GROUPS}
    whole = forms.with_groups(form, groups)
    written = respelled([expand(word) for word in words])
    check_sizes(written)

    def parsed(base: options.Config) -> Any:
        given = {group: make(**vars(getattr(base, group))) for group, make in groups.items()}
        return forms.read(whole, command, written, whole(**given))

    first = parsed(reading.read_dict(read_preset(DEFAULT)))
    arguments = parsed(base_of(first)) if first.preset or first.config else first
    values = {group: vars(getattr(arguments, group)) for group in options.GROUPS}
    if arguments.environment is not None:
        values["env"]["id"] = arguments.environment
    return arguments, reading.from_dict(values), written


def check_files(arguments: Any, config: options.Config, written: list[str]) -> None:
    """Raise ConfigError where a file, and nothing that was typed, says what is to be imported."""
    from qmu.world.named import check_id_in_file, check_wrappers_in_file

    file, way_out = arguments.config or arguments.preset, "give it on the command line"
    if not (arguments.environment or is_typed("--env.id", written)):
        check_id_in_file(config.env.id, file, way_out)
    if not is_typed("--env.wrappers", written):
        check_wrappers_in_file(config.env.wrappers, file, way_out.replace("it", "them"))


def resume(words: list[str]) -> None:
    """Go on with a run."""
    from qmu import forms

    form = forms.read(forms.Resume, "resume", words)
    from qmu.runs.resume import resume as resume_run

    resume_run(
        form.run,
        exact=form.exact,
        salvage=form.salvage,
        env=form.env,
        wrappers=form.wrappers,
        progress=True,
        **vars(form.train),
    )


def evaluate(words: list[str]) -> None:
    """Measure a run's best policy on new episodes."""
    from qmu import forms

    form = forms.read(forms.Evaluate, "eval", words)
    from qmu.runs.results import open_run
    from qmu.watching.console import score_lines

    run = open_run(form.run).in_world(form.env, kwargs=form.kwargs, wrappers=form.wrappers)
    name = form.env or run.info["environment"]
    score = run.evaluate(form.episodes, seed=form.seed, render=form.render)
    print("\n".join(score_lines(name, score)))


def play(words: list[str]) -> None:
    """Show a run's best policy."""
    from qmu import forms

    form = forms.read(forms.Play, "play", words)
    from qmu.runs.results import EVAL_SEEDS, open_run
    from qmu.watching.console import episode_lines

    run = open_run(form.run).in_world(form.env, kwargs=form.kwargs, wrappers=form.wrappers)
    shown: dict[str, Any] = {
        "seed": form.seed,
        "first_episode_seed": EVAL_SEEDS if form.first_seed is None else form.first_seed,
        "steps": form.steps,
    }
    if form.video is None:
        score = run.play(form.episodes, **shown, tell=lambda said: print(f"note: {said}"))
    else:
        score = run.video(form.video, form.episodes, **shown)
        print(f"video   {form.video}")
    print("\n".join(episode_lines(score)))


def check(words: list[str]) -> int:
    """Say what a world is and what is wrong with it; return 1 if it cannot be trained in."""
    from qmu import forms

    form = forms.read(forms.Check, "check", words)
    from qmu.health.check import check_env

    asked = vars(form)
    checkup = check_env(asked.pop("environment"), **asked)
    print(checkup)
    return 0 if checkup.possible else 1


def envs(words: list[str]) -> None:
    """List the environment ids that can be trained here, by family."""
    from qmu import forms

    form = forms.read(forms.Envs, "envs", words)
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
    from qmu import forms

    form = forms.read(forms.Presets, "presets", words)
    from qmu import presets as shelf

    if form.name is None:
        width = max(map(len, shelf.names()))
        for name in shelf.names():
            print(f"{name:{width}}  {shelf.title(name)}")
        print(f"{shelf.AUTO:{width}}  the environment's own: {', '.join(shelf.environments())}")
        return
    import tomli_w

    config = reading.read_dict(shelf.read_preset(form.name, form.env))
    print(tomli_w.dumps(options.to_dict(config)))
    changed = reading.differences(config, options.Config())
    print("\n".join(["# differs from the default in:", *(f"#   {line}" for line in changed)]))


def study(words: list[str]) -> None:
    """Compare recipes."""
    from qmu import forms

    form = forms.read(forms.Study, "study", words)
    from qmu import command
    from qmu.study import plan

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
    where = command.Where(form.workers, form.on, form.cpus, form.gpus)
    confirmed = form.yes or form.dry_run
    asked = plan.read_study(form.name, form.env or None, form.seeds, form.total_steps, confirmed)
    if form.dry_run:
        command.dry_run(asked, where)
        return
    directory = absolute(form.dir or Path("studies") / asked.name)
    command.run_study(asked, directory, where, list(form.env))


def tune(words: list[str]) -> None:
    """Search for a better recipe."""
    from qmu import forms

    form, config, written = read_recipe(forms.Tune, "tune", words)
    from qmu import command
    from qmu.study import away
    from qmu.tuning import plan, space
    from qmu.tuning.site import Site

    if form.list:
        width = max(map(len, space.names()))
        for name in space.names():
            print(f"{name:{width}}  {space.title(name)}")
        return
    if form.resume is not None:
        asked, directory = plan.open_tuning(form.resume), absolute(form.resume)
        plan.check_typed(asked, config, form.resume / plan.TUNING_FILE)
        check_resumed(form.resume, written)
    else:
        check_files(form, config, written)
        asked = plan.asked(
            config,
            form.space,
            form.trials,
            form.grace_steps,
            form.score,
            form.search_seed,
            form.finalists,
            form.fresh_seeds,
            lambda path: is_given(path, form.config, written),
        )
        directory = absolute(form.dir or plan.default_directory(asked.world))
        plan.check_new(directory)
    request = away.Request(form.cpus, form.gpus)
    site = Site(directory, form.on, form.storage, form.workers, request)
    where = command.Where(form.workers, form.on, form.cpus, form.gpus)
    command.tune(asked, site, where, [config.env.id or ""])


def compare(words: list[str]) -> None:
    """Put runs beside each other."""
    from qmu import forms

    form = forms.read(forms.Compare, "compare", words)
    from qmu import command

    command.compare(list(form.paths))


def report(words: list[str]) -> None:
    """Write a report."""
    from qmu import forms

    form = forms.read(forms.Report, "report", words)
    from qmu import command

    kinds = [kind for kind in ("markdown", "csv") if getattr(form, kind)]
    command.report(list(form.paths), form.out, kinds or ["html"])


def export(words: list[str]) -> None:
    """Write a policy as one file."""
    from qmu import forms

    form = forms.read(forms.Export, "export", words)
    from qmu import command

    command.export(form.run, form.out, form.seed)


def doctor(words: list[str]) -> None:
    """Say what is wrong with a run."""
    from qmu import forms

    form = forms.read(forms.Doctor, "doctor", words)
    from qmu.health.doctor import told
    from qmu.runs.results import open_run

    print("\n".join(told(open_run(form.run))))


def expand(word: str) -> str:
    """Return a word of the command line with a short spelling written out."""
    name, equals, value = word.partition("=")
    return SHORTCUTS.get(name, name) + equals + value


def is_typed(option: str, words: list[str]) -> bool:
    """Tell whether an option is among the words of the command line."""
    return any(word.partition("=")[0] == option for word in words)


def is_given(path: str, file: Path | None, words: list[str]) -> bool:
    """Tell whether an option such as train.seeds is in a file, or among the words."""
    group, _, option = path.partition(".")
    held = {} if file is None else read_toml(file)
    return option in held.get(group, {}) or is_typed(f"--{path.replace('_', '-')}", words)


def check_resumed(directory: Path, words: list[str]) -> None:
    """Raise ConfigError for words that would ask something else of a tuning that goes on."""
    typed = [word.partition("=")[0] for word in words if word.startswith("--")]
    others = [option for option in typed if option not in BESIDE_RESUME]
    if others:
        raise ConfigError(
            f"--resume {directory} goes on with what was asked for: leave out "
            f"{', '.join(others)}, or begin another tuning, with --dir"
        )


def check_sizes(words: list[str]) -> None:
    """Raise ConfigError for hidden sizes without a number, which would mean a linear network."""
    for word, value in itertools.pairwise([*words, "--"]):
        if word.replace("_", "-").endswith(".hidden-sizes") and value.startswith("--"):
            raise ConfigError(
                f"{word}: give the units of each hidden layer, such as {word} 256 256 (a linear "
                "network is hidden_sizes = [] in a file for --config)"
            )


def base_of(arguments: Any) -> options.Config:
    """Return the configuration that the preset and the file of these arguments amount to.

    Without a preset, a file says all that differs from the options' own defaults; runs' files do.
    """
    from qmu.presets import read_preset

    values = {} if arguments.config is None else read_toml(arguments.config)
    if arguments.preset is not None:
        named = arguments.environment or arguments.env.id or reading.read_dict(values).env.id
        values = reading.merge(read_preset(arguments.preset, named), values)
    return reading.read_dict(values)
