"""What MuJoCo says: heard while worlds are made and stepped, and kept for whoever asks.

By itself MuJoCo prints every warning, and writes it into MUJOCO_LOG.TXT in the working folder. Both
are left to its user's handler where there is one, and while worlds of a run are at work that is
`hear`. MuJoCo is not imported for it: worlds bring it along.
"""

import contextlib
import importlib.abc
import importlib.util
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np

from qmu.errors import warn

MUJOCO = "mujoco"
# A handler that only prints what it is given: a module, and its name there.
PRINTS = ("dm_control.mujoco.wrapper.core", "_warning_callback")
NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?")


class Listening:
    """How many are listening in this process, and what they have heard: the first of each kind."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self.lock = threading.RLock()
        self.depth = 0
        self.said: dict[str, str] = {}
        self.before: Any = None
        self.arrival = Arrival(self.begin)

    def begin(self) -> None:
        """Become MuJoCo's handler once it is there, unless the user has one of their own."""
        mujoco = sys.modules.get(MUJOCO)
        if mujoco is None:
            if self.arrival not in sys.meta_path:
                sys.meta_path.insert(0, self.arrival)
            return
        handler = mujoco.get_mju_user_warning()
        if handler is None or prints(handler):
            self.before = handler
            mujoco.set_mju_user_warning(hear)

    def end(self) -> None:
        """Give the handler back, unless somebody has taken it meanwhile."""
        if self.arrival in sys.meta_path:
            sys.meta_path.remove(self.arrival)
        mujoco = sys.modules.get(MUJOCO)
        if mujoco is not None and mujoco.get_mju_user_warning() is hear:
            mujoco.set_mju_user_warning(self.before)


class Arrival(importlib.abc.MetaPathFinder):
    """Has something done as soon as MuJoCo has been imported."""

    def __init__(self, then: Callable[[], None]) -> None:
        """Take what is done then."""
        self.then = then

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return where MuJoCo is; of other modules nothing is known here."""
        if name != MUJOCO:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = Announcing(spec.loader, self.then)
        return spec


class Announcing(importlib.abc.Loader):
    """Loads a module with the loader that it has, and has something done after that."""

    def __init__(self, loader: Any, then: Callable[[], None]) -> None:
        """Take the loader, and what is done then."""
        self.loader, self.then = loader, then

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Return the new module."""
        module: ModuleType | None = self.loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module, which sees its own loader only."""
        assert module.__spec__ is not None
        module.__loader__ = module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        self.then()


def hear(text: str) -> None:
    """Keep what MuJoCo says, if it is the first of its kind."""
    LISTENING.said.setdefault(kind_of(text), " ".join(text.split()))


LISTENING = Listening()


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """Hear what MuJoCo says meanwhile; whoever calls a world's code does so under this."""
    with LISTENING.lock:
        LISTENING.depth += 1
        # At every depth: a world may have brought along a package with a handler.
        LISTENING.begin()
    try:
        yield
    finally:
        with LISTENING.lock:
            LISTENING.depth -= 1
            if LISTENING.depth == 0:
                LISTENING.end()


@contextlib.contextmanager
def stepping() -> Iterator[None]:
    """Step worlds: MuJoCo is heard, and NumPy does not warn of numbers beyond float32.

    Such numbers, and those of weights about to diverge, overflow on their way to the checks that
    name them.
    """
    with heard(), np.errstate(over="ignore", invalid="ignore"):
        yield


def take() -> list[str]:
    """Return what has been heard since the last call, the first of each kind."""
    said, LISTENING.said = LISTENING.said, {}
    return list(said.values())


def note(said: Sequence[str]) -> None:
    """Keep what has been heard in another process."""
    for text in said:
        hear(text)


def pass_on(tell: Callable[[str], None] = warn) -> None:
    """Tell of what has been heard and matters, where no run writes it down."""
    for text in take():
        if matters(text):
            tell(f"MuJoCo said: {text}")


@contextlib.contextmanager
def aloud() -> Iterator[None]:
    """Pass on what is heard meanwhile: worlds are at work without a run."""
    try:
        yield
    finally:
        pass_on()


def matters(text: str) -> bool:
    """Tell whether a message is about what a world does: not about how its model is written."""
    return "deprecated" not in text


def kind_of(text: str) -> str:
    """Return a message without its numbers: those of the same kind differ in nothing else."""
    return NUMBER.sub("#", text)


def prints(handler: Any) -> bool:
    """Tell whether a handler only prints what it is given."""
    module, name = PRINTS
    return handler is getattr(sys.modules.get(module), name, None)
