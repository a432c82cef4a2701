"""A run's directory, read: its policies, which act, are filmed and scored."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmu.agent.custom import Networks, acting_names
from qmu.collecting.display import be_ready, check_display, choose_backend
from qmu.collecting.evaluate import Score, evaluate
from qmu.config import Env, reading, without_group
from qmu.deploy.files import load_policy
from qmu.deploy.policy import Policy
from qmu.errors import ConfigError, warn
from qmu.learning.custom import load_custom
from qmu.places import WorkingFolder, absolute, shown
from qmu.records.directory import BEST, CHECKPOINTS, CONFIG_FILE, RUN_FILE
from qmu.records.kept import Kept
from qmu.saving import storage
from qmu.watching.play import SHOWN_STEPS, watch
from qmu.watching.video import ENDING, film, stage
from qmu.watching.window import opened
from qmu.world.declared import same_bounds
from qmu.world.hearing import aloud
from qmu.world.make import Maker, Source, maker_of
from qmu.world.named import check_id_in_file, check_wrappers_in_file
from qmu.world.spaces import Spaces, bounds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from qmu.watching.curves import Curve

# Episodes of `qmu eval` begin with these seeds: neither those that chose the policy, nor those
# that its final score was measured on.
EVAL_SEEDS = 3_000_000


@dataclass(frozen=True)
class Run(Kept):
    """A run's directory, read: what was asked for and logged, and the policies.

    `source` is what makes its worlds, with `kwargs` and `wrappers`, and `networks` what makes
    networks of the user's own, if that is at hand.
    """

    source: Source | None = field(default=None, repr=False, compare=False)
    kwargs: str | Mapping[str, Any] | None = field(default=None, repr=False, compare=False)
    wrappers: tuple[str, ...] | None = field(default=None, repr=False, compare=False)
    networks: Networks | None = field(default=None, repr=False, compare=False)

    def policy(self, seed: int | None = None) -> Policy:
        """Return the best policy of the member with this seed; without one, the best of all.

        Raises:
            ConfigError: there is no such policy.
        """
        best = self.directory / BEST
        if not best.is_dir():
            saved = sorted((self.directory / CHECKPOINTS).glob("*/seed-*"))
            hint = f"; the newest policy is qmu.load_policy({str(saved[-1])!r})" if saved else ""
            early = "its end" if not self.config.train.eval_interval else "its first evaluation"
            raise ConfigError(f"{self.directory} ended before {early}{hint}")
        if seed is None:
            return self.read_policy(best)
        names = sorted(path.name for path in best.iterdir() if path.is_dir())
        # A member of an arm has the arm before its seed.
        own = [name for name in names if name.rpartition(".")[2] == f"seed-{seed}"]
        if not own:
            there = ", ".join(name.removeprefix("seed-") for name in names)
            raise ConfigError(f"{self.directory} has no member with seed {seed}; there is {there}")
        if len(own) > 1:
            raise ConfigError(
                f"{self.directory} has seed {seed} in several arms: qmu.load_policy("
                f"{str(best / own[0])!r}) is the policy of one, and there is {', '.join(own)}"
            )
        return self.read_policy(best / own[0])

    def read_policy(self, folder: Path) -> Policy:
        """Return the policy in one of the run's folders."""
        if self.networks is None or not acting_names(self.networks):
            return load_policy(folder)
        return load_custom(folder, self.networks, self.config)

    def plot(self, metric: str = "eval/mean_reward") -> "Figure":
        """Return a picture of a metric over the steps: each seed, their mean, a 95% interval.

        In a notebook it shows itself; `figure.savefig("curves.png")` writes it into a file. The
        interval is a bootstrap over the seeds, and needs five of them.

        Args:
            metric: a name in the lines of metrics (docs/metrics.md).

        Raises:
            ConfigError: no seed has logged such a metric.
        """
        from qmu.watching.curves import learning_curves

        curves = self.curves(metric)
        if not curves:
            names = {name for line in self.metrics() for name in line if "/" in name}
            there = f"; there is {', '.join(sorted(names))}" if names else ""
            raise ConfigError(f"{self.directory} has logged no {metric!r}{there}")
        label = "return of an evaluation" if metric == "eval/mean_reward" else metric
        return learning_curves(curves, label=label, legend=len(curves) > 1)

    def curves(self, metric: str) -> "list[Curve]":
        """Return a metric over the steps that all seeds of an arm have logged it at, per arm."""
        from qmu.watching.portrait import curves_of

        return curves_of(self.members, self.metrics(), metric)

    def in_world(
        self,
        env: Source | None = None,
        *,
        kwargs: str | Mapping[str, Any] | None = None,
        wrappers: Sequence[str] | None = None,
    ) -> "Run":
        """Return the run with another world to evaluate, play and film in; what is not given stays.

        Args:
            env: another environment than the run's own, or the run's where it has no id.
            kwargs: other keyword arguments of the environment; None: the run's, of its own id.
            wrappers: dotted names of the wrappers around it, the run's or others.
        """
        return replace(
            self,
            source=self.source if env is None else env,
            kwargs=self.kwargs if env is None and kwargs is None else kwargs,
            wrappers=self.wrappers if wrappers is None else tuple(wrappers),
        )

    def evaluate(
        self,
        episodes: int = 20,
        *,
        seed: int | None = None,
        first_episode_seed: int = EVAL_SEEDS,
        render: bool = False,
    ) -> Score:
        """Return the score of the best policy (or that of one seed) on new episodes.

        Args:
            episodes: how many.
            seed: the member's; None: the best of all.
            first_episode_seed: the seed of the first episode; the others follow it.
            render: show the episodes in a window.

        Raises:
            ConfigError: no such policy, or the environment is needed and not given, or does not
                fit the policy.
            WorldError: the environment raised or returned something impossible.
        """
        with WorkingFolder():
            return evaluate_policy(*self.acting(seed), episodes, first_episode_seed, render)

    @aloud()
    def play(
        self,
        episodes: int = 1,
        *,
        seed: int | None = None,
        first_episode_seed: int = EVAL_SEEDS,
        steps: int = SHOWN_STEPS,
        tell: Callable[[str], None] = warn,
    ) -> Score:
        """Show episodes of the best policy (or that of one seed) in a window, in real time.

        An episode is shown up to `steps`, with the step, the return so far and the action drawn
        in. Who closes the window ends it. Without another `first_episode_seed` they begin as those
        of `evaluate` do. `tell` is called with a sentence where only the world's own window can be
        shown.

        Raises:
            ConfigError: as `evaluate` does, or there is no display, or nothing to be seen.
            WorldError: as `evaluate` does.
        """
        check_shown(episodes, steps)
        check_display("play", "write a video instead (--video out.mp4)")
        # Before the environment is made: MuJoCo may not be imported with another.
        choose_backend()
        with WorkingFolder():
            policy, maker = self.acting(seed)
            with opened(maker, tell) as (worlds, see):
                seeds = episode_seeds(first_episode_seed, episodes)
                return watch(policy.network, worlds, seeds, steps, see)

    @aloud()
    def video(
        self,
        path: str | Path,
        episodes: int = 1,
        *,
        seed: int | None = None,
        first_episode_seed: int = EVAL_SEEDS,
        steps: int = SHOWN_STEPS,
    ) -> Score:
        """Write what `play` shows as a video (.mp4), without a display; return the score.

        Raises:
            ConfigError: as `evaluate` does, or the environment cannot be rendered, or the extra
                `video` is not installed, or the file cannot be written.
            WorldError: as `evaluate` does.
        """
        check_shown(episodes, steps)
        file = absolute(path)
        if file.suffix != ENDING or file.is_dir():
            raise ConfigError(f"a video is an {ENDING} file: {shown(file)} is none")
        # Before the environment is made: MuJoCo may not be imported with another.
        choose_backend()
        with WorkingFolder():
            policy, maker = self.acting(seed)
            worlds = stage(maker)
            try:
                seeds = episode_seeds(first_episode_seed, episodes)
                return film(policy.network, worlds, seeds, file, steps)
            except OSError as error:
                raise ConfigError(f"{shown(file)} cannot be written: {error}") from None
            finally:
                worlds.close()

    @without_group("env.kwargs", "env.wrappers")
    def acting(self, seed: int | None) -> tuple[Policy, Maker]:
        """Return the best policy (or that of one seed), and the maker of its worlds.

        Raises:
            ConfigError: no such policy, no such worlds, or they do not fit each other.
        """
        policy = self.policy(seed)
        source, settings = self.world()
        be_ready(settings)
        maker = maker_of(source, settings)
        try:
            check_fits(policy, maker.spaces)
        except ConfigError:
            maker.close()
            raise
        return policy, maker.around(policy.centre)

    def world(self) -> tuple[Source, Env]:
        """Return what makes the run's worlds, and their options.

        Raises:
            ConfigError: the run's files name something to import, which must be named again.
        """
        settings, file = self.config.env, self.directory / CONFIG_FILE
        source, around = self.source, self.wrappers
        if source is None:
            way_out = "give it yourself, with --env or run.in_world(env=...)"
            check_id_in_file(settings.id, file, way_out)
            source = settings.id
        if source is None:
            raise ConfigError(
                f"this run was trained on {self.info['environment']}, which has no id to make it "
                "again: give the environment (in Python: run.in_world(env=...))"
            )
        if around is None:
            way_out = "name them yourself, with --wrappers or run.in_world(wrappers=[...])"
            check_wrappers_in_file(settings.wrappers, file, way_out)
            around = ()
        given: dict[str, Any] = {"wrappers": around}
        if self.kwargs is not None:
            given["kwargs"] = self.kwargs
        elif source != settings.id:
            given["kwargs"] = None
        return source, reading.from_dict({"env": vars(settings) | given}).env


@aloud()
def evaluate_policy(
    policy: Policy, maker: Maker, episodes: int, first_episode_seed: int, render: bool = False
) -> Score:
    """Return a policy's score on `episodes` episodes of worlds of this maker."""
    check_shown(episodes)
    if render:
        check_display("--render", "leave it out")
    worlds = maker.evaluation_worlds(1 if render else min(episodes, 20), render)
    try:
        seeds = episode_seeds(first_episode_seed, episodes)
        return evaluate(policy.network, worlds, seeds)
    finally:
        worlds.close()


def check_shown(episodes: int, steps: int = SHOWN_STEPS) -> None:
    """Raise ConfigError if there would be nothing to see."""
    for option, value in (("--episodes", episodes), ("--steps", steps)):
        if value < 1:
            raise ConfigError(f"{option} must be greater than 0, not {value}")


def episode_seeds(first: int, episodes: int) -> range:
    """Return the seeds of episodes. Raises ConfigError where a world takes none of these."""
    if not 0 <= first < 2**31:
        raise ConfigError(f"the first episode's seed must lie in [0, 2^31), not {first}")
    return range(first, first + episodes)


def check_fits(policy: Policy, spaces: Spaces) -> None:
    """Raise ConfigError unless worlds have the observations and actions of a policy."""
    if (spaces.obs_shape, spaces.action_shape) != (policy.obs_shape, policy.action_shape):
        raise ConfigError(
            f"the policy maps observations {policy.obs_shape} to actions {policy.action_shape}; "
            f"{spaces.name} has observations {spaces.obs_shape} and actions {spaces.action_shape}"
        )
    ours, theirs = ([part.name for part in parts] for parts in (policy.parts, spaces.parts))
    if ours != theirs:
        raise ConfigError(
            f"the policy observes {' '.join(ours) or 'one array'}, in this order; {spaces.name} "
            f"gives {' '.join(theirs) or 'one array'}"
        )
    own, there = bounds_of(policy), bounds_of(spaces)
    if not same_bounds(policy.low, policy.high, spaces.low, spaces.high):
        raise ConfigError(
            f"the policy's actions lie in {own}, those of {spaces.name} in {there}: the same "
            "action would be another one there. Give it the same bounds, with the wrappers that "
            "the run had or a RescaleAction"
        )


def bounds_of(actions: Policy | Spaces) -> str:
    """Return the bounds of actions, as a person reads them."""
    return " ".join(bounds(actions.low, actions.high))


def open_run(directory: str | Path, *, networks: Networks | None = None) -> Run:
    """Return the run in a directory.

    Args:
        directory: the run's.
        networks: what `qmu.train` was given, if the run's policies have an actor of their own.

    Raises:
        ConfigError: it is not a run's directory.
    """
    path = absolute(directory)
    if not storage.is_folder(path):
        raise ConfigError(
            f"{path} is no directory; give a run's, such as runs/Pendulum-v1/ddpg-..."
        )
    missing = [name for name in (RUN_FILE, CONFIG_FILE) if not (path / name).is_file()]
    if missing:
        inside = sorted(found.parent for found in path.glob(f"*/{RUN_FILE}"))
        hint = f"; there is one in {inside[-1]}" if inside else ""
        raise ConfigError(f"{path} is not a run's directory: it has no {missing[0]}{hint}")
    return Run(path, networks=networks)
