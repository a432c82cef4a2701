"""Where a search is done: on a cluster, by a process of it that conducts; its runs come home."""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qmu import config as options
from qmu.collecting.cluster import AUTO, CONNECTION, check_address
from qmu.config.workers import HERE
from qmu.errors import ConfigError, QmuError
from qmu.signals import ended_by, noted
from qmu.study.away import Request
from qmu.study.mirror import unpack
from qmu.study.processes import processors
from qmu.tuning import space as spaces
from qmu.tuning.plan import Tuning, keep_trials
from qmu.tuning.search import ENDED, Conductor, Plan, Trial
from qmu.tuning.trial import Task

# In a tuning's directory: the trials' runs, and what is Ray's own.
RUNS, OWN = "runs", "ray"
# Seconds between two looks at the search.
PAUSE = 1.0
# A search whose process is lost so often is given up.
MOST_LOST = 3


class Site:
    """A cluster that searches: where, what a trial needs of it, and where Ray keeps its files."""

    def __init__(
        self,
        directory: Path,
        address: str,
        storage: str | None,
        at_once: int | None,
        request: Request,
    ) -> None:
        """Connect to it.

        Args:
            directory: the tuning's, on this machine.
            address: of the cluster, as `qmu.collecting.cluster` has it.
            storage: a folder that all nodes see, or s3://...; None: in the directory.
            at_once: trials side by side; None: as many as there is room for.
            request: what each of them needs.

        Raises:
            ConfigError: it is not there, or too small, or cannot write to the storage.
        """
        if at_once is not None and at_once < 1:
            raise ConfigError(f"--workers must be 1 or more, not {at_once}")
        check_address(address, "--on")
        if storage is None and address not in (HERE, AUTO):
            raise ConfigError(
                f"--on {address}: the nodes of a cluster have to see the trials' checkpoints, and "
                f"cannot see {directory}: give --storage, a folder that all of them see, or "
                "s3://..."
            )
        places = request.join(address)
        self.ray: Any = importlib.import_module("ray")
        if storage is not None:
            why = self.ray.get(self.ray.remote(num_cpus=0)(unwritable).remote(storage))
            if why:
                raise ConfigError(f"--storage {storage}: the cluster cannot write there ({why})")
        self.directory, self.address, self.request = directory, address, request
        self.places = at_once or places
        self.storage = storage or str((directory / OWN).absolute())

    def renew(self) -> None:
        """Connect anew: with a connection ends what a lost process of the search still holds."""
        CONNECTION.close()
        CONNECTION.open(self.address, "--on", len(processors()))


def unwritable(folder: str) -> str:
    """Return why a folder, or s3://..., cannot be made where this runs; nothing if it can be."""
    fs = importlib.import_module("pyarrow.fs")
    try:
        system, path = fs.FileSystem.from_uri(folder)
        system.create_dir(path)
    except (OSError, ValueError) as error:
        return str(error)
    return ""


def search(tuning: Tuning, site: Site, show: Callable[[list[Trial]], None]) -> list[Trial]:
    """Try all recipes, or go on where a search was stopped.

    A trial that has ended is written down, and its run brought home.

    Raises:
        ConfigError: what Ray has kept of a search that was stopped cannot be read.
        QmuError: Ray has given up.
        StoppedError: of SIGTERM.
        KeyboardInterrupt: of Ctrl-C.
    """
    task = Task(
        base=options.to_dict(tuning.base),
        space=spaces.described(tuning.space),
        score=tuning.score,
        cpus=site.request.cpus,
        gpus=site.request.gpus,
    )
    first = spaces.base_drawn(tuning.space, tuning.base)
    plan = Plan(tuning.trials, tuning.steps, tuning.grace, tuning.seed, first, site.places)
    stopped: list[int] = []
    errors = site.ray.exceptions
    with noted(stopped):
        for lost in range(MOST_LOST):
            if lost:
                site.renew()
            try:
                trials = conducted(site, task, plan, show, lambda: bool(stopped))
            except errors.RayActorError:
                continue
            except ConfigError as error:
                # Ray raises one that is its own error, too, with the traceback in its text.
                raise ConfigError(str(error.cause)) from None  # type: ignore[attr-defined]
            except errors.RayError as error:
                last = str(error).strip().rpartition("\n")[2]
                raise QmuError(f"Ray has ended the search: {last}") from None
            if trials is None:
                raise ended_by(stopped, "search")
            return trials
    raise QmuError(f"the search lost its process {MOST_LOST} times")


def conducted(
    site: Site,
    task: Task,
    plan: Plan,
    show: Callable[[list[Trial]], None],
    stopped: Callable[[], bool],
) -> list[Trial] | None:
    """Let a process of the cluster search, and bring home what it has found.

    None: `stopped` said so before.
    """
    ray = site.ray
    actor = ray.remote(num_cpus=0, max_concurrency=2)(Conductor)
    conductor = actor.remote(task, plan, site.storage)
    home: set[int] = set()
    try:
        answer = conductor.fit.remote()
        while not stopped():
            ready, _ = ray.wait([answer], timeout=PAUSE)
            found: list[Trial] = ray.get(answer if ready else conductor.trials.remote())
            show(found)
            ended = [one for one in found if one.status in ENDED and one.number not in home]
            if ended:
                bring(ray, conductor, ended, site.directory)
                home |= {one.number for one in ended}
                keep_trials(site.directory, found)
            if ready:
                return found
        return None
    finally:
        ray.kill(conductor)


def bring(ray: Any, conductor: Any, trials: Sequence[Trial], directory: Path) -> None:
    """Bring the trials' runs home."""
    for trial in trials:
        for parcel in ray.get(conductor.bring.remote(trial.number)):
            unpack(parcel, directory / RUNS / f"trial-{trial.number:04d}")
