"""A policy leaves home: one file, compared with the trained actor, and a model card beside it."""

from pathlib import Path

from qmu.deploy import files
from qmu.deploy.files import load_policy
from qmu.deploy.policy import DESCRIPTION, Policy
from qmu.errors import ConfigError
from qmu.places import absolute, shown
from qmu.records.directory import CONFIG_FILE, RUN_FILE, read_json
from qmu.runs.model import DDPG
from qmu.runs.results import Run, open_run
from qmu.saving import storage
from qmu.shipping.card import MARK, card, undescribed
from qmu.shipping.export import Export, make_export, observations
from qmu.world.normalizing import Normalizer, normalizers_in, notes_on

CARD_ENDING = ".md"
# A policy's folder is so many folders below its run's, or fewer: checkpoints/000050000/best/seed-0.
DEPTH = 4
Source = Run | DDPG | Policy | str | Path


def export(source: Source, path: str | Path, *, seed: int | None = None) -> Export:
    """Write a policy as one file, with a model card of the same name that ends in .md.

    Args:
        source: a run, or its directory, of which the best policy is taken; a model, whose policy
            is taken as it is now; a policy, or the folder of one, such as RUN/best/seed-1 or
            RUN/checkpoints/000050000/seed-1.
        path: the file. Its ending says what for: .npz (NumPy), .onnx or .pt (PyTorch). Folders that
            are not there are made.
        seed: of a run, the best policy of the member with this seed.

    Returns:
        The export, with what was measured of it.

    Raises:
        ConfigError: there is no such policy, the ending is unknown, a package that it takes is not
            installed, or the file cannot be written. Nothing is left on the disk.
        QmuError: the file's actions would not be those of the trained actor. Nothing is left.
    """
    out = absolute(path)
    files.ending(out)
    beside = card_of(out)
    earlier = check_places(out, beside)
    policy, home = find(source, seed)
    run = home if isinstance(home, Run) else None
    made = make_export(policy, out, observations(policy, run))
    notes = tuple(notes_on(normalizers_around(home)))
    made = made._replace(undescribed=undescribed(made, earlier), notes=notes)
    text = card(made, home, earlier)
    try:
        with storage.folders_around(out):
            storage.replace_files({out: made.data, beside: text.encode()})
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot write {shown(out)}: {why}") from None
    return made


def card_of(path: Path) -> Path:
    """Return where the model card of an export is."""
    return path.with_suffix(CARD_ENDING)


def check_places(out: Path, beside: Path) -> str:
    """Return the model card that is there already; nothing without one.

    Raises:
        ConfigError: the file or its card cannot be written there.
    """
    for path in (out, beside):
        if storage.is_folder(path):
            raise ConfigError(f"{path} is a directory: give the export another name")
    for place in out.absolute().parents:
        if storage.is_file(place):
            raise ConfigError(f"cannot write {shown(out)}: {place} is no folder")
    if not storage.is_file(beside):
        return ""
    try:
        text = beside.read_text(encoding="utf-8")
    except (OSError, ValueError):
        text = ""
    if not text.startswith(MARK):
        raise ConfigError(
            f"{beside} is there and is no model card, and would be written over: give the export "
            "another name"
        )
    return text


def find(source: Source, seed: int | None) -> tuple[Policy, Run | DDPG | None]:
    """Return the policy that is meant, and the run or the model that it is of, if that is known.

    Raises:
        ConfigError: there is no such policy.
    """
    home = opened(source)
    if isinstance(home, Run):
        check_actor(home.directory / files.BEST)
        return home.policy(seed), home
    if seed is not None:
        raise ConfigError(f"--seed {seed} chooses among a run's policies, and this is a single one")
    if isinstance(home, DDPG):
        return home.policy(), home
    if isinstance(home, Policy):
        return home, None
    check_actor(home)
    return load_policy(home), run_around(home)


def normalizers_around(home: Run | DDPG | None) -> tuple[Normalizer, ...]:
    """Return the wrappers with statistics of their own that a policy's world was trained in."""
    if isinstance(home, DDPG):
        return home.trainer.maker.normalizers
    return () if home is None else normalizers_in(home.info)


def opened(source: Source) -> Run | DDPG | Policy | Path:
    """Return the run, the model, the policy, or the folder of one that is meant.

    Raises:
        ConfigError: it is none of them.
    """
    if isinstance(source, Run | DDPG | Policy):
        return source
    if not isinstance(source, str | Path):
        raise ConfigError(
            "an export takes a run, a model, a policy, or the directory of one, and not a "
            f"{type(source).__name__}"
        )
    folder = absolute(source)
    return folder if storage.is_file(folder / DESCRIPTION) else open_run(folder)


def check_actor(folder: Path) -> None:
    """Raise ConfigError if the policy in a folder has an actor or encoder of the user's own."""
    if read_json(folder / DESCRIPTION).get("custom"):
        raise ConfigError(
            f"the policy in {folder} has networks of the user's own, and an export holds the "
            "built-in networks: ship the function that makes it with the numbers in that folder"
        )


def run_around(folder: Path) -> Run | None:
    """Return the run that a policy's folder belongs to, if it lies in one's directory."""
    for place in folder.resolve().parents[:DEPTH]:
        if all((place / name).is_file() for name in (RUN_FILE, CONFIG_FILE)):
            return Run(place)
    return None
