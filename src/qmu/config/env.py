"""The options of the world: which, how many, how long an episode."""

from dataclasses import dataclass

from qmu.config.declared import (
    NOT_EMPTY,
    NOT_NEGATIVE,
    NOTICEABLE,
    POSITIVE,
    UP_TO_1000,
    Rule,
    numeric,
    one_of,
    structural,
)
from qmu.config.spelling import flag
from qmu.config.tables import Table
from qmu.config.workers import HERE, Workers
from qmu.errors import ConfigError

WORKERS: Rule = (
    lambda workers: workers.number >= int(workers.on_ray),
    "must be 0 or greater, or ray:N with an N of 1 or greater",
)
# What `gymnasium.make` takes besides an environment's own keywords, and qmu says itself.
SET_BY_QMU = {
    "id",
    "render_mode",
    "max_episode_steps",
    "disable_env_checker",
    "num_envs",
    "vectorization_mode",
    "vector_kwargs",
    "autoreset_mode",
}
KEYWORDS: Rule = (
    lambda table: not SET_BY_QMU & set(table.values()),
    "must leave to qmu what qmu sets by options of its own: the time limit, the number of worlds, "
    "the window, the environment checker",
)
# An encoder's convolutions leave nothing of smaller ones; larger ones are too large to learn from.
SIDE: Rule = (lambda size: 32 <= size <= 1024, "must be from 32 to 1024")
DOTTED: Rule = (
    lambda names: (
        all(all(part.isidentifier() for part in name.split(".")) for name in names)
        and all("." in name for name in names)
    ),
    "must hold names such as package.module.Wrapper",
)
NAMES: Rule = (
    lambda names: len(names) > 0 and (len(names) == 1 or not {"auto", "all", "none"} & set(names)),
    "must be auto, all or none, or the names of parts",
)
ONCE: Rule = (
    lambda names: len(set(names)) == len(names) and all(names),
    "must name parts, each once",
)


@dataclass(frozen=True)
class Env:
    """The world: which, how many, how long an episode."""

    id: str | None = structural(None, help="the environment's id, such as Pendulum-v1")
    count: int = structural(1, help="worlds per member, stepped together", rule=POSITIVE)
    workers: Workers = structural(
        Workers("0"),
        help="processes that step the run's worlds, for slow simulators: N, or ray:N on a cluster; "
        "0: its own",
        rule=WORKERS,
    )
    cluster: str = structural(
        HERE,
        help="where workers ray:N are: ray (this machine), ray://HOST:PORT, or ray://auto (the "
        "cluster here)",
        rule=NOT_EMPTY,
    )
    episode_length: int | None = structural(
        None,
        help="time limit of an episode, in steps of the world; none: its own; 0: no limit",
        rule=NOT_NEGATIVE,
    )
    repeat: int = structural(
        1,
        help="steps of the world that each action lasts; other options count actions, an episode's "
        "length steps",
        rule=POSITIVE,
    )
    pixels: int | None = structural(
        None,
        help="observe pictures of the world, of so many pixels each side; none: what it observes",
        rule=SIDE,
    )
    numbers: bool = structural(False, help="beside --env.pixels observe the world's own numbers")
    camera: str | None = structural(
        None,
        help="camera of MuJoCo's and dm_control's pictures: name, number or free; none: its own",
        rule=NOT_EMPTY,
    )
    shadows: bool = structural(
        False, help="shadows in pictures of MuJoCo and dm_control: several times as slow to draw"
    )
    kwargs: Table | None = structural(
        None,
        help="the environment's keyword arguments, as TOML: '{frame_skip = 4}'; none: its own",
        rule=KEYWORDS,
    )
    wrappers: tuple[str, ...] = structural(
        (),
        help="Gymnasium wrappers by dotted name, the innermost first; files only record them",
        rule=DOTTED,
    )
    images: tuple[str, ...] = structural(
        ("auto",),
        help="which observations are images: auto (those that look like it), all, none, or the "
        "names of parts",
        rule=NAMES,
    )
    hide: tuple[str, ...] = structural(
        (),
        help="what is taken away of the observations: names of parts, position or velocity, or "
        "places of numbers",
        rule=ONCE,
    )
    frames: int = structural(
        1,
        help="the last so many observations of an episode are seen together",
        rule=UP_TO_1000,
    )
    normalize_obs: bool = structural(
        False, help="observations to mean 0 and variance 1, by what the member has seen"
    )
    obs_clip: float = numeric(5.0, help="largest size of a normalized observation", rule=POSITIVE)
    reward_scale: float = numeric(
        1.0, help="what rewards are multiplied with where they are learned from", rule=POSITIVE
    )
    normalize_rewards: bool = structural(
        False,
        help="rewards divided by a running scale of discounted returns; with critic.bins always",
    )
    on_error: str = structural(
        "stop",
        help="when a world fails: stop, or restart: replace it, and end its episode there",
        rule=one_of("stop", "restart"),
    )
    step_timeout: float | None = structural(
        None,
        help="seconds that a step or reset of a world may take; none: no limit",
        rule=NOTICEABLE,
    )
    render: bool = structural(False, help="show the first member's evaluations in a window")
    single: bool = structural(
        False, help="one world in all: training and evaluations take turns, between episodes"
    )

    def actions(self, steps: int | None) -> int | None:
        """Return how many actions so many steps of the world are; None for no limit."""
        return None if steps is None else -(-steps // self.repeat)


def check_cluster(env: Env) -> None:
    """Raise ConfigError where a cluster is named that nothing runs on."""
    if env.cluster != HERE and not env.workers.on_ray:
        raise ConfigError(
            f"--env.cluster {env.cluster} is where --env.workers ray:N are, and "
            f"--env.workers is {env.workers}: give ray:N, or leave --env.cluster out"
        )


def check_pixels(env: Env) -> None:
    """Raise ConfigError where there are no pictures to be drawn so, or they cannot be drawn."""
    if env.pixels is None:
        of_pictures = {
            f"{flag('env', 'camera')} {env.camera}": env.camera is not None,
            flag("env", "shadows"): env.shadows,
            flag("env", "numbers"): env.numbers,
        }
        pixels = flag("env", "pixels")
        for option, given in of_pictures.items():
            if given:
                raise ConfigError(
                    f"{option} is about the pictures of {pixels}, and there are none: give "
                    f"{pixels} 84, or leave it out"
                )
    elif env.hide and not env.numbers:
        raise ConfigError(
            f"{flag('env', 'hide')} {' '.join(env.hide)} takes away what a world observes itself, "
            f"and with {flag('env', 'pixels')} {env.pixels} pictures are observed alone: leave one "
            f"of them out, or observe both ({flag('env', 'numbers')})"
        )
    elif env.render:
        raise ConfigError(
            f"--env.render shows a world in a window of its own, and with --env.pixels "
            f"{env.pixels} it is drawn for pictures: leave --env.render out, and look at videos "
            "(--log.video-interval) or at `qmu play`"
        )


def check_single(env: Env, seeds: int, video_interval: int) -> None:
    """Raise ConfigError where the world is to be the only one, and something needs another."""
    if not env.single:
        return
    needing = {
        f"--env.count {env.count}": env.count > 1,
        f"--env.workers {env.workers}": env.workers.number > 0,
        f"--seeds {seeds}": seeds > 1,
        "--env.render": env.render,
        f"--log.video-interval {video_interval}": video_interval > 0,
    }
    for option, given in needing.items():
        if given:
            raise ConfigError(
                f"--env.single is one world in all, and {option} needs another beside it: leave "
                "one of them out"
            )


def check_ready_made(env: Env, seeds: int) -> None:
    """Raise ConfigError where a ready-made vector environment cannot do what is asked for."""
    if seeds > 1:
        raise ConfigError(
            "a ready-made vector environment serves one member: give the environment's id or "
            "a factory to train several seeds"
        )
    if env.workers.number:
        raise ConfigError(
            "a ready-made vector environment steps its worlds itself: leave --env.workers out"
        )
    if env.on_error == "restart":
        raise ConfigError(
            "--env.on-error restart cannot replace a world of a ready-made vector environment: "
            "give the environment's id or a factory"
        )
