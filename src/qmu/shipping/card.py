"""A model card: what a policy is, where it comes from, what was measured of it, and its limits."""

import hashlib
import itertools
from collections.abc import Sequence
from importlib import metadata, resources
from typing import Any

import jinja2
import numpy as np

from qmu.config import Config
from qmu.config.members import Member
from qmu.deploy import files
from qmu.deploy.description import network_of
from qmu.deploy.ends import End, inputs_of, outputs_of
from qmu.deploy.layers import Floats
from qmu.deploy.policy import ARRAYS, Policy
from qmu.errors import ConfigError
from qmu.layout import NUMBER
from qmu.parts import Part
from qmu.records import stats
from qmu.records.directory import RUN_FILE, describe
from qmu.records.stats import Interval
from qmu.runs.model import DDPG
from qmu.runs.results import Run
from qmu.shipping.export import CALLS, Export
from qmu.shipping.recipe import recipe_of
from qmu.study.results import between, number
from qmu.wording import counted

# How every card begins.
MARK = "<!-- model card by qmu export -->"
TEMPLATES = resources.files(__name__.rpartition(".")[0])
NEEDS = {
    ".npz": "This takes NumPy; JAX is not imported.",
    ".onnx": "This takes onnxruntime (`pip install 'qmu[onnx]'`). Any other ONNX runtime will do, "
    "too:",
    ".pt": "This takes PyTorch (`pip install 'qmu[torch]'`) and gives a `torch.nn.Module`; for "
    "tensors it returns tensors, with gradients.",
}


def card(export: Export, home: Run | DDPG | None, earlier: str) -> str:
    """Return the model card of an export.

    Args:
        export: what was measured of it.
        home: where the policy comes from, if that is known.
        earlier: the card that this one replaces. What it says of other files of the same policy is
            kept, if they are there.
    """
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = (TEMPLATES / "card.md.jinja").read_text(encoding="utf-8")
    return environment.from_string(text).render(**contents(export, home, earlier)).strip() + "\n"


def contents(export: Export, home: Run | DDPG | None, earlier: str) -> dict[str, Any]:
    """Return what the template shows."""
    policy, run = export.policy, home if isinstance(home, Run) else None
    info = known_of(home, policy)
    config = config_of(home, policy)
    scores = [] if run is None else scores_of(run, policy)
    return {
        "mark": MARK,
        "world": policy.info.get("environment") or "an unknown environment",
        "normalization": network_of(policy).normalization is not None,
        "facts": facts(policy),
        "parts": part_rows(policy),
        "unit": "bytes" if policy.layout.images else "numbers",
        "rows": sorted({row(export), *other_rows(export, earlier).values()}),
        "undescribed": export.undescribed,
        "notes": export.notes,
        "observed": observed(export),
        "calls": f"{CALLS:,}",
        "file": export.path.name,
        "blank": f"{policy.obs_shape}, np.uint8" if policy.layout.images else policy.obs_shape,
        "images": bool(policy.layout.images),
        "frames": policy.layout.frames,
        "memory": policy.past.memory,
        "past": policy.has_past,
        "reward": policy.past.memory is not None and policy.past.memory.reward,
        "needs": needs(policy, files.ending(export.path)),
        "scores": scores,
        "episodes": None
        if run is None
        else counted(run.config.train.final_episodes, "new episode"),
        "unscored": unscored(home, info),
        "recipe": None if config is None else recipe_of(config),
        "run": run is not None,
        "steps": f"{info['steps']:,}" if "steps" in info else None,
        "versions": versions(home, info),
    }


def known_of(home: Run | DDPG | None, policy: Policy) -> dict[str, Any]:
    """Return what there is to know of where a policy comes from: versions, and all of a run."""
    if isinstance(home, Run):
        return home.info
    if home is None:
        return {"versions": {"qmu": policy.info.get("qmu")}}
    here = describe(home.trainer.maker.name)
    return {name: here[name] for name in ("versions", "python")}


def config_of(home: Run | DDPG | None, policy: Policy) -> Config | None:
    """Return the configuration that a policy was trained with, if that is known."""
    if isinstance(home, DDPG):
        return home.trainer.config
    member = None if home is None else member_of(home, policy)
    return None if member is None else member.config


def facts(policy: Policy) -> list[tuple[str, str]]:
    """Return what there is to know of a policy itself."""
    network, info = network_of(policy), policy.info
    hidden = network.weights[:-1] if network.projections is None else network.weights[:-1:2]
    kind = "hidden layers" if network.projections is None else "residual blocks of hidden units"
    units = [weight.shape[1] for weight in hidden]
    norm = ", layer normalization" if network.scales else ""
    known = network.normalization
    score = info.get("evaluation_mean_reward")
    found = [
        ("observation", f"{np.dtype(policy.dtype)}, shape {policy.obs_shape}{axes(policy)}"),
        ("action", f"float32, shape {policy.action_shape}, {bounds(policy.low, policy.high)}"),
        ("network", f"{kind} {units}, {network.activation}{norm}"),
        ("observations", "as they are" if known is None else f"normalized, cut at {known.clip:g}"),
        ("an action lasts", f"{info['repeat']} steps of the world" if "repeat" in info else "None"),
        ("acts on", acts_on(policy)),
        ("remembers", remembers(policy)),
        ("what is hidden of the world's observations", ", ".join(info.get("hidden", ["None"]))),
        ("arm", str(info.get("arm"))),
        ("seed", str(info.get("seed"))),
        ("trained for", f"{info['step']:,} steps" if "step" in info else "unknown"),
        ("evaluation that chose it", "none" if score is None else number(score)),
        ("weights", f"SHA-256 `{weights_sum(policy)}` of policy.safetensors"),
    ]
    return [(name, value) for name, value in found if value != "None"]


def acts_on(policy: Policy) -> str:
    """Return how many observations a policy sees at a time, in words; "None" for one."""
    frames = policy.layout.frames
    if frames == 1:
        return str(None)
    return f"the last {frames} observations of an episode; before the first one, that one again"


def remembers(policy: Policy) -> str:
    """Return what a policy's memory is, in words; "None" without one."""
    cell = network_of(policy).memory
    if cell is None:
        return str(None)
    bytes_each = sum(part.nbytes for part in policy.initial_state(1))
    fed = {"observation": "observations", "action": "the last action", "reward": "the last reward"}
    return (
        f"a {cell.description()['memory']} with a state of {cell.size} numbers, which is fed "
        f"{' and '.join(fed[name] for name in cell.fed)}; what is carried from step to step takes "
        f"{bytes_each:,} bytes in all"
    )


def axes(policy: Policy) -> str:
    """Return how the axes of an image alone lie, in words; nothing for other observations."""
    alone = policy.parts and not policy.parts[0].path
    return f": an image, {policy.parts[0].image}, from 0 to 255" if alone else ""


def needs(policy: Policy, ending: str) -> str:
    """Return what it takes to load a policy's file, and to run it without qmu."""
    if ending != ".onnx":
        return NEEDS[ending]
    taken = inputs_of(policy.past, policy.parts, policy.obs_shape, policy.dtype)
    given = outputs_of(policy.past, policy.parts, policy.action_shape)
    return (
        f"{NEEDS[ending]} the graph takes {ends_told(taken)}, and gives {ends_told(given)}, "
        "all with a leading batch axis."
    )


def ends_told(ends: Sequence[End]) -> str:
    """Return inputs or outputs of a graph in words."""
    return ", ".join(f"`{end.name}` ({np.dtype(end.dtype)}, {end.shape})" for end in ends)


def part_rows(policy: Policy) -> list[list[str]]:
    """Return the table of the parts of an observation: where each lies, its name, what it is.

    Where there are images it is in bytes: the numbers come first, four bytes each (`Layout`).
    """
    parts, unit = policy.parts, NUMBER if policy.layout.images else 1
    if axes(policy):
        return []
    ordered = sorted(parts, key=lambda part: bool(part.image))
    sizes = [part.size if part.image else unit * part.size for part in ordered]
    ends = itertools.accumulate(sizes)
    return [
        [span(end - size, end), f"`{part.name}`", numbers_of(part)]
        for part, size, end in zip(ordered, sizes, ends, strict=True)
    ]


def numbers_of(part: Part) -> str:
    """Return in words what the numbers of a part are."""
    if part.image:
        return f"an image, uint8, {part.image}: {part.shape}"
    if not part.choices:
        return f"shape {part.shape}"
    choices = zip(part.first, part.choices, strict=True)
    return "a 1 among zeros, " + ", then ".join(
        f"for {span(first, first + count)}" for first, count in choices
    )


def span(first: int, end: int) -> str:
    """Return the whole numbers from `first` on, below `end`, in words."""
    return str(first) if end - first == 1 else f"{first} to {end - 1}"


def bounds(low: Floats, high: Floats) -> str:
    """Return the bounds of actions in words."""
    pairs = list(zip(low.tolist(), high.tolist(), strict=True))
    if len(set(pairs)) == 1:
        return f"from {pairs[0][0]:g} to {pairs[0][1]:g}"
    return ", ".join(f"{below:g} to {above:g}" for below, above in pairs)


def weights_sum(policy: Policy) -> str:
    """Return the SHA-256 sum of a policy's arrays, as the run's own file has it."""
    return hashlib.sha256(policy.files()[ARRAYS]).hexdigest()


def observed(export: Export) -> str:
    """Return what an export was compared with the actor on."""
    return f"{len(export.observed.obs):,} observations {export.observed.origin}"


def row(export: Export) -> str:
    """Return an export's line of the table of files."""
    cells = (
        f"`{export.path.name}`",
        f"{len(export.data):,} bytes",
        f"{export.difference:.1e}",
        f"{export.microseconds:.0f} µs",
    )
    return f"| {' | '.join(cells)} |"


def other_rows(export: Export, earlier: str) -> dict[str, str]:
    """Return file name -> line of an earlier card, of other files of the same policy.

    None are where that was measured on other observations.
    """
    if weights_sum(export.policy) not in earlier or observed(export) not in earlier:
        return {}
    return {
        name: line
        for name in beside(export)
        for line in earlier.splitlines()
        if line.startswith(f"| `{name}` |")
    }


def undescribed(export: Export, earlier: str) -> tuple[str, ...]:
    """Return the names of files beside an export that the card that they share is not about."""
    known = other_rows(export, earlier)
    return tuple(name for name in beside(export) if name not in known)


def beside(export: Export) -> list[str]:
    """Return the names of files that differ from an export's in their ending alone."""
    paths = map(export.path.with_suffix, files.HOMES)
    return [path.name for path in paths if path != export.path and path.is_file()]


def member_of(run: Run, policy: Policy) -> Member | None:
    """Return the member of the run that a policy is of, by its seed and the arm that it knows."""
    seed, arm = policy.info.get("seed"), policy.info.get("arm")
    own = [member for member in run.members if member.seed == seed and arm in (None, member.arm)]
    return own[0] if len(own) == 1 else None


def scores_of(run: Run, policy: Policy) -> list[list[str]]:
    """Return the table of scores: a row per seed, and of several one over them.

    Raises:
        ConfigError: the run's description is damaged.
    """
    try:
        return score_rows(run, policy)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{run.directory / RUN_FILE} is damaged: {error!r}") from None


def score_rows(run: Run, policy: Policy) -> list[list[str]]:
    """Do what `scores_of` does; errors are those of reading."""
    members, own = run.info.get("members") or [], member_of(run, policy)
    this = None if own is None else (own.arm, own.seed, policy.info.get("step"))
    rows = []
    for member in members:
        value, std = float(member["final_mean_reward"]), float(member["final_std_reward"])
        found = stats.mean_of_episodes(value, std, run.config.train.final_episodes)
        name = f"{member['arm']} {member['seed']}" if "arm" in member else str(member["seed"])
        best = (member.get("arm", ""), member["seed"], member["best_step"])
        mark = " (this policy)" if this == best else ""
        rows.append(score_row(name + mark, found, std))
    if len({member.get("arm") for member in members}) == 1 and len(members) > 1:
        finals = np.array([float(member["final_mean_reward"]) for member in members])
        rows.append(score_row(f"all {len(members)}", stats.mean(finals), float(finals.std())))
    return rows


def score_row(name: str, found: Interval, std: float) -> list[str]:
    """Return a row of the table of scores."""
    return [name, number(found.value), between(found.low, found.high).strip(" ()"), number(std)]


def unscored(home: Run | DDPG | None, info: dict[str, Any]) -> str:
    """Return why there is no score."""
    if home is None:
        return "The policy was exported without its run: its scores are not known here."
    if isinstance(home, DDPG):
        return "The policy is that of a model, not of a run: `model.evaluate` measures it."
    return (
        f"The run has not come to its end (its status is {info.get('status')}), at which policies "
        "are measured on new episodes."
    )


def versions(home: Run | DDPG | None, info: dict[str, Any]) -> str:
    """Return what the policy was trained and exported with."""
    known = info.get("versions", {}) | {"Python": info.get("python")}
    used = ", ".join(f"{name} {version}" for name, version in known.items() if version)
    # A model may have been trained elsewhere before it was loaded.
    verb = "A model in" if isinstance(home, DDPG) else "Trained with"
    trained = f"{verb} {used}. " if used else ""
    return f"{trained}Exported with qmu {metadata.version('qmu')}."
