"""From what the user names to worlds: ids, factories, environments."""

import contextlib
import difflib
import math
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from qmu import config as options
from qmu.config.tables import Table, inline
from qmu.errors import FAILURES, ConfigError, told
from qmu.world.around import wrappers
from qmu.world.families import (
    ADAPTERS,
    FAMILIES,
    cannot,
    family_of,
    group_of,
    is_installed,
    load,
    register,
)
from qmu.world.given import again, cannot_be_made, check_given, check_given_several
from qmu.world.graphics import no_graphics
from qmu.world.hearing import heard
from qmu.world.hide import hidden_in, hiding
from qmu.world.host import Guard, HostWorlds, VectorWorlds, Worlds, close_quietly
from qmu.world.named import find_wrapper, import_module, wrapped
from qmu.world.normalizing import Normalizer, instead, normalizers_of
from qmu.world.only import Lent, Only, no_other
from qmu.world.painters import Drawing
from qmu.world.parts import AUTO
from qmu.world.pixels import check_drawn, drawing_of, drawn, told_of
from qmu.world.repeat import repeat_in, repeated
from qmu.world.spaces import Spaces, read_spaces

# What is said where a second environment cannot be made, and a first one could.
PICTURES = "rgb_array"
PERHAPS_SINGLE = (
    "A first one could be made: if there can be only one at a time (a robot, a port, a licence), "
    "give --env.single (to `qmu check`: --single)"
)
Source = (
    str | Callable[[], gym.Env[Any, Any]] | gym.Env[Any, Any] | gym.vector.VectorEnv[Any, Any, Any]
)


class Maker(NamedTuple):
    """How to make the worlds of a run.

    `vector` is a ready-made vector environment, if given. `only` makes the only world, if there can
    be no other, and `shared` is that world where a run is under way in it.
    """

    name: str
    spaces: Spaces
    make_one: Callable[[str | None], gym.Env[Any, Any]]  # takes the render mode
    vector: gym.vector.VectorEnv[Any, Any, Any] | None
    longest: int | None = None  # actions of an episode at most, if that is known
    normalizers: tuple[Normalizer, ...] = ()  # wrappers with statistics of their own
    only: Only | None = None
    shared: HostWorlds | None = None
    # What policies say of how their worlds were made, where that is not as usual.
    made: Mapping[str, Any] = MappingProxyType({})

    def around(self, centre: Any) -> "Maker":
        """Return a maker of worlds whose observations have this centre [obs], or none."""
        return self._replace(spaces=self.spaces._replace(centre=centre))

    def worlds(self, count: int, guard: Guard | None = None, restarting: bool = False) -> Worlds:
        """Return `count` fresh worlds, or the ready-made vector environment.

        They run under `guard`; if `restarting`, one that fails is replaced.
        """
        if self.vector is not None:
            return VectorWorlds(self.vector, self.spaces, guard)
        if self.shared is not None:
            return self.shared
        make = partial(self.make_one, None)
        environments = [make() for _ in range(count)]
        return HostWorlds(environments, self.spaces, guard, make if restarting else None)

    def evaluation_worlds(
        self, count: int, render: bool, guard: Guard | None = None, restarting: bool = False
    ) -> HostWorlds:
        """Return fresh worlds for evaluation; the first one in a window if asked.

        They run under `guard`; if `restarting`, one that fails is replaced, without a window. Where
        there is one world in all, it is one.

        Raises:
            ConfigError: it has none.
        """
        others = 0 if self.only is not None else count - 1
        modes: list[str | None] = ["human" if render else None] + [None] * others
        environments = [self.make_one(mode) for mode in modes]
        make = partial(self.make_one, None) if restarting else None
        worlds = HostWorlds(environments, self.spaces, guard, make, self.longest)
        mode = worlds.environments[0].render_mode
        if render and mode != "human":
            worlds.close()
            raise ConfigError(
                f"{self.name} opens no window: its render_mode is {mode!r}, not 'human': choose it "
                "where it is made; an environment with an id is given it, and has to keep it"
            )
        return worlds

    @contextlib.contextmanager
    def looking(self) -> Iterator[gym.Env[Any, Any]]:
        """Lend a world for a look; it is closed after that, unless it is the only one."""
        environment = self.make_one(None)
        try:
            yield environment
        finally:
            if self.only is None:
                close_quietly(environment)
            else:
                self.only.give_back(environment)

    def close(self) -> None:
        """Close the only world, if nobody has taken it."""
        if self.only is not None:
            self.only.close()


def maker_of(source: Source, settings: options.Env) -> Maker:
    """Return how to make worlds of a source as a run's options say."""
    maker = find_maker(
        source,
        settings.episode_length,
        settings.kwargs,
        settings.wrappers,
        settings.single,
        settings.repeat,
        drawing_of(settings),
        settings.images,
        settings.hide,
    )
    return maker._replace(spaces=maker.spaces._replace(frames=settings.frames))


@heard()
def find_maker(
    source: Source,
    episode_length: int | None = None,
    kwargs: Table | None = None,
    wrappers: Sequence[str] = (),
    single: bool = False,
    repeat: int = 1,
    drawing: Drawing | None = None,
    images: Sequence[str] = (AUTO,),
    hide: Sequence[str] = (),
) -> Maker:
    """Return how to make worlds of an environment id, factory, environment or vector environment.

    Args:
        source: what the worlds are made of.
        episode_length: the time limit of an episode; None for the environment's own, 0 for none.
        kwargs: keyword arguments of the environment, which an id can have.
        wrappers: dotted names of the wrappers around every world, the innermost first.
        single: make one world in all, which is kept in the maker until it is asked for.
        repeat: steps of the world that an action is repeated for; time limits count them.
        drawing: what pictures are observed; None for the world's own observations.
        images: which observations are images: auto, all, none, or the names of parts.
        hide: what is taken away of the world's own observations.

    Raises:
        ConfigError: no such id, an environment that cannot be made here, or spaces that are not
            accepted.
    """
    if kwargs is not None and not isinstance(source, str):
        raise ConfigError(
            f"{options.flag('env', 'kwargs')} {kwargs} are for the environment of an id, and this "
            f"is {type(source).__name__}: give them where it is made"
        )
    if isinstance(source, gym.Env):
        check_single("the environment", source)
    if isinstance(source, gym.vector.VectorEnv):
        if single:
            raise ConfigError(
                f"--env.single is one world in all, and {environment_name(source)} is a ready-made "
                "vector environment: give the environment's id, or a function that makes one"
            )
        if drawing is not None:
            raise ConfigError(
                f"{environment_name(source)}: {options.flag('env', 'pixels')} {drawing.size} draws "
                "single environments, and this one is ready-made: give the environment's id, or a "
                "function that makes one"
            )
        if hide:
            raise ConfigError(
                f"{environment_name(source)}: {options.flag('env', 'hide')} takes away what single "
                "environments observe, and this one is ready-made: wrap each environment where "
                "you make it, in qmu.Hide"
            )
        return vector_maker(source, episode_length, wrappers, repeat, images)
    around = [(dotted, find_wrapper(dotted)) for dotted in wrappers]
    mode = None if drawing is None else PICTURES
    if single and isinstance(source, gym.Env):
        first = lent(source, episode_length)
        make_bare = no_other(environment_name(source))
    else:
        make_bare = bare_maker(source, episode_length, kwargs.values() if kwargs else {})
        first = make_bare(mode)
    try:
        name = source if isinstance(source, str) else environment_name(first)
        first = drawn(hiding(repeated(wrapped(first, around), repeat), hide), drawing)
        if not single:
            check_drawn(name, first)
        longest, normalizers = longest_episode(first), normalizers_of(first)
        check_declared(name, first)
        spaces = read_spaces(name, first.observation_space, first.action_space, tuple(images))
    except BaseException:
        close_quietly(first)
        raise

    def make_one(render_mode: str | None) -> gym.Env[Any, Any]:
        if drawing is None:
            asked = render_mode
        elif render_mode in (None, PICTURES):
            asked = PICTURES
        else:
            raise ConfigError(
                f"{name} is drawn for pictures ({options.flag('env', 'pixels')} {drawing.size}), "
                "and opens no window of its own: look at a video, or at `qmu play`"
            )
        with heard():
            bare = repeated(wrapped(make_bare(asked), around), repeat)
            return drawn(hiding(bare, hide), drawing)

    hidden = hidden_in(first)
    made = ({"repeat": repeat} if repeat > 1 else {}) | ({"hidden": hidden} if hidden else {})
    made |= told_of(first, drawing)
    if single:
        only = Only(make_one, first)
        return Maker(name, spaces, only, None, longest, normalizers, only, made=made)
    close_quietly(first)

    def make_another(render_mode: str | None) -> gym.Env[Any, Any]:
        try:
            return make_one(render_mode)
        except ConfigError as error:
            if render_mode is not None:
                raise
            raise ConfigError(f"{error}. {PERHAPS_SINGLE}") from error.__cause__

    return Maker(name, spaces, make_another, None, longest, normalizers, made=made)


def lent(environment: gym.Env[Any, Any], episode_length: int | None) -> gym.Env[Any, Any]:
    """Return an environment that was given as it is, which is not made again, and not closed.

    Raises:
        ConfigError: its own time limit would have to be changed.
    """
    if episode_length is not None and any(time_limits(environment)):
        raise ConfigError(
            f"{environment_name(environment)} was given as it is, with a time limit, which "
            f"{options.flag('env', 'episode_length')} would change in it: set the limit where it "
            "is made, or give a function that makes it"
        )
    return limit(Lent(environment), episode_length)


def bare_maker(
    source: Source, episode_length: int | None, kwargs: Mapping[str, Any]
) -> Callable[[str | None], gym.Env[Any, Any]]:
    """Return how a world is made, without wrappers; it takes the render mode."""
    if isinstance(source, str):
        check_id(source)
        return lambda render_mode: limit(
            make_id(source, render_mode, episode_length, kwargs), episode_length
        )
    if isinstance(source, gym.Env):
        check_given(environment_name(source), source)
        return lambda render_mode: limit(another(source, render_mode), episode_length)
    if callable(source):
        call = Fresh(source)
        return lambda render_mode: limit(call(), episode_length)
    raise ConfigError(
        f"{source!r} is no environment: give an id such as 'Pendulum-v1', a function that "
        "returns a Gymnasium environment, or such an environment"
    )


def vector_maker(
    source: gym.vector.VectorEnv[Any, Any, Any],
    episode_length: int | None,
    wrappers: Sequence[str],
    repeat: int,
    images: Sequence[str],
) -> Maker:
    """Return how to use a ready-made vector environment; evaluation makes single ones.

    Raises:
        ConfigError: it is normalized as a whole, it is not in same-step autoreset mode, its time
            limit is to be changed, actions are to be repeated, or it does not say how a single
            environment is made (one wrapped as a whole does not).
    """
    name = environment_name(source)
    if around := normalizers_of(source):
        raise ConfigError(
            f"{name}: evaluation takes single environments, which {around[0].wrapper} around the "
            f"vector environment is not around: {instead(around[0])}"
        )
    mode = source.metadata.get("autoreset_mode")
    if mode != gym.vector.AutoresetMode.SAME_STEP:
        told = mode.value if isinstance(mode, gym.vector.AutoresetMode) else mode
        raise ConfigError(
            f"{name}: a ready-made vector environment must be in same-step autoreset mode, not "
            f"{told}: make it with autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP, "
            "or give the environment's id and --env.count"
        )
    if episode_length is not None:
        raise ConfigError(
            f"{name}: {options.flag('env', 'episode_length')} cannot change a ready-made vector "
            "environment; set max_episode_steps where you make it"
        )
    if wrappers:
        raise ConfigError(
            f"{name}: {options.flag('env', 'wrappers')} go around single environments, and this "
            "one is ready-made: wrap each environment where you make it"
        )
    if repeat > 1:
        raise ConfigError(
            f"{name}: {options.flag('env', 'repeat')} {repeat} repeats actions of single "
            "environments, and this one is ready-made: repeat them where you make it"
        )
    functions = getattr(source, "env_fns", None)
    if not isinstance(functions, Sequence) or not functions:
        raise ConfigError(
            f"{name}: evaluation needs single environments like those in this vector environment, "
            f"and {type(source).__name__} does not say how they are made; give a function that "
            "returns a single environment, its wrappers included, and env={'count': ...} instead"
        )
    spaces = read_spaces(
        name, source.single_observation_space, source.single_action_space, tuple(images)
    )
    check_given_several(name, source, functions[0])
    call = Fresh(functions[0])
    first = call()
    longest, normalizers = longest_episode(first), normalizers_of(first)
    close_quietly(first)

    def make_one(render_mode: str | None) -> gym.Env[Any, Any]:
        del render_mode
        with heard():
            return call()

    return Maker(name, spaces, make_one, source, longest, normalizers)


def check_declared(name: str, environment: gym.Env[Any, Any]) -> None:
    """Raise ConfigError unless an environment says what its two spaces are."""
    for attribute in ("observation_space", "action_space"):
        space = getattr(environment, attribute, None)
        if not isinstance(space, gym.Space):
            held = f"no {attribute}" if space is None else f"the {attribute} {space!r:.80}"
            raise ConfigError(
                f"{name} has {held}: set self.{attribute} in its __init__ to a space of "
                "Gymnasium, such as gymnasium.spaces.Box(-1, 1, (3,))"
            )


def check_id(name: str) -> None:
    """Raise ConfigError, with the nearest ids, unless Gymnasium knows the id.

    Of `module:id`, the module is imported first: it may register the id. An id of a family that is
    known has it registered.
    """
    module, colon, name = name.rpartition(":")
    if colon:
        import_module(module, f"the environment {module}:{name}")
    if name in ADAPTERS:
        raise ConfigError(
            f"{name} imports the module that its env_id names, and a file could name any: register "
            "an id for it in a module of yours, and give module:id, or in Python a function that "
            "returns it"
        )
    register(name)
    try:
        gym.spec(name)
    except gym.error.Error:
        known = {other.lower(): other for other in gym.registry}
        near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
        close = [known[word] for word in near]
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        unregistered = f" ({module} registers none of this name)" if colon else ""
        raise ConfigError(
            f"there is no environment {name!r}{unregistered}; {hint}`qmu envs` lists what can be "
            "trained here"
        ) from None


def make_id(
    name: str,
    render_mode: str | None,
    episode_length: int | None,
    kwargs: Mapping[str, Any],
) -> gym.Env[Any, Any]:
    """Return a new environment of an id, with these keyword arguments."""
    try:
        with warnings.catch_warnings():
            # An old version is the user's choice.
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            warnings.filterwarnings("ignore", message=".*is out of date.*")
            # Whether it can be rendered is seen when it is.
            warnings.filterwarnings("ignore", message=".*possible render_modes.*")
            return gym.make(
                name,
                # To Gymnasium, -1 is no limit.
                max_episode_steps=-1 if episode_length == 0 else episode_length,
                disable_env_checker=True,
                **in_mode(render_mode),
                **kwargs,
            )
    except FAILURES as error:
        if render_mode is None:
            said = why_not(name, kwargs, error)
        else:
            said = why_not_rendered(name, render_mode, error)
        raise ConfigError(said) from error


def in_mode(render_mode: str | None) -> dict[str, Any]:
    """Return what an environment is given that is to be rendered: others need not know of it."""
    return {} if render_mode is None else {"render_mode": render_mode}


def why_not(name: str, kwargs: Mapping[str, Any], error: BaseException) -> str:
    """Return why an environment of an id cannot be made, and the way out."""
    if (drawing := no_graphics(name, error)) is not None:
        return drawing
    if kwargs and (isinstance(error, TypeError) or can_be_made(name)):
        given = inline(kwargs)
        return (
            f"{name} does not take {options.flag('env', 'kwargs')} {given} ({told(error)}): "
            "change or leave them"
        )
    family = family_of(gym.spec(name.rpartition(":")[2]))
    if family is not None and family.packages:
        return cannot(family, name, error)
    return (
        f"{name} cannot be made here ({told(error)}); install what it needs, give what it asks for "
        f"with {options.flag('env', 'kwargs')}, or choose another from `qmu envs`"
    )


def why_not_rendered(name: str, render_mode: str, error: BaseException) -> str:
    """Return why an environment cannot be rendered that can be made, and the way out."""
    return no_graphics(name, error) or (
        f"{name} cannot be shown: it can be made, but not with render_mode={render_mode!r} "
        f"({told(error)}); let its __init__ take render_mode, keep it as self.render_mode, and "
        f"name {render_mode!r} in metadata['render_modes']"
    )


def can_be_made(name: str) -> bool:
    """Tell whether an environment of an id can be made without keyword arguments."""
    try:
        close_quietly(make_id(name, None, None, {}))
    except ConfigError:
        return False
    return True


class Fresh:
    """The user's factory, with checks that it makes environments, and new ones.

    Sent to another process, it has made nothing yet.
    """

    def __init__(self, factory: Callable[[], gym.Env[Any, Any]]) -> None:
        """Take the factory."""
        self.factory = factory
        self.made: list[weakref.ref[gym.Env[Any, Any]]] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return Fresh, (self.factory,)

    def __call__(self) -> gym.Env[Any, Any]:
        """Return a new environment.

        Raises:
            ConfigError: the factory raised, or returned something else.
        """
        try:
            environment = self.factory()
        except FAILURES as error:
            drawing = no_graphics("the environment of the factory", error)
            raise ConfigError(drawing or f"the environment factory raised {told(error)}") from error
        check_single("what the environment factory returned", environment)
        if not isinstance(environment, gym.Env):
            raise ConfigError(
                f"the environment factory returned {type(environment).__name__}, which is not a "
                "gymnasium.Env"
            )
        if any(earlier() is environment.unwrapped for earlier in self.made):
            raise ConfigError(
                "the environment factory returned the same environment twice, and training, "
                "evaluation and members need worlds of their own: let it make a new one whenever "
                "it is called"
            )
        self.made.append(weakref.ref(environment.unwrapped))
        return environment


def another(environment: gym.Env[Any, Any], render_mode: str | None) -> gym.Env[Any, Any]:
    """Return another environment like one that was given."""
    try:
        return again(environment, in_mode(render_mode))
    except FAILURES as error:
        name = environment_name(environment)
        if render_mode is not None and environment.spec is not None:
            raise ConfigError(why_not_rendered(name, render_mode, error)) from error
        raise ConfigError(cannot_be_made(name, environment, error)) from error


def limit(environment: gym.Env[Any, Any], episode_length: int | None) -> gym.Env[Any, Any]:
    """Return the environment with this time limit instead of all that it has; with none for 0."""
    if episode_length is None:
        return environment
    own = list(time_limits(environment))
    for one in own:
        one._max_episode_steps = episode_length or math.inf
    if own or not episode_length:
        return environment
    return gym.wrappers.TimeLimit(environment, episode_length)


def time_limits(environment: Any) -> Iterator[Any]:
    """Return the time limits around an environment, the outermost first."""
    return (one for one in wrappers(environment) if isinstance(one, gym.wrappers.TimeLimit))


def longest_episode(environment: gym.Env[Any, Any]) -> int | None:
    """Return how many actions an episode has at most, if there are time limits, or if it says so.

    Limits count the world's own steps.
    """
    steps = longest_in_steps(environment)
    repeat = repeat_in(environment)
    return steps if steps is None or repeat is None else -(-steps // repeat.times)


def longest_in_steps(environment: gym.Env[Any, Any]) -> int | None:
    """Return how many steps of the world an episode has at most, if that is known."""
    limits = [one._max_episode_steps for one in time_limits(environment)]
    bare = environment.unwrapped
    said = (
        *(getattr(bare, name, None) for name in ("max_episode_steps", "_max_episode_steps")),
        # An environment of dm_control, inside of its adapter.
        getattr(getattr(bare, "_env", None), "_step_limit", None),
    )
    known = [steps for steps in limits if steps != math.inf]
    if limits:
        return min(known, default=None)
    return next(filter(None, map(whole_limit, said)), None)


def whole_limit(said: Any) -> int | None:
    """Return a number of steps that an environment says, if it is one."""
    number = isinstance(said, int | float | np.integer | np.floating) and not isinstance(said, bool)
    return math.ceil(said) if number and 1 <= said < math.inf else None


def environment_name(environment: Any) -> str:
    """Return the id, or the class's name of an environment, single or vector, without one."""
    # Some have a description of their own kind in the place of Gymnasium's.
    name = getattr(environment.spec, "id", None)
    return name if isinstance(name, str) else type(environment.unwrapped).__name__


def check_single(what: str, environment: Any) -> None:
    """Raise ConfigError for an environment of several worlds that stands for a single one.

    EnvPool's are single and vector environments at once, by their class.
    """
    inside = getattr(environment, "unwrapped", environment)
    both = hasattr(inside, "num_envs") and hasattr(inside, "single_action_space")
    if isinstance(inside, gym.vector.VectorEnv) or both:
        raise ConfigError(
            f"{what}, {type(inside).__name__}, steps several worlds at once, and qmu makes single "
            "ones for evaluations: give a function that returns a single environment, and "
            f"{options.flag('env', 'count')} for several; or a vector environment of Gymnasium in "
            "same-step autoreset mode itself"
        )


def trainable(wanted: str | None = None) -> Iterator[tuple[str, str]]:
    """Yield (family, id) of the environments that can be trained here.

    Those of all families that are installed, or of one; and what else has been registered.
    """
    for family in FAMILIES:
        if wanted in (None, family.name) and is_installed(family):
            with contextlib.suppress(ConfigError):
                load(family, family.name)
    for name, spec in sorted(gym.registry.items()):
        group = group_of(spec)
        if group is None or (wanted is not None and group != wanted):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                find_maker(name)
        except ConfigError:
            continue
        yield group, name
