"""Compare updates of recurrent actors and critics with the same program in PyTorch.

    python benchmarks/recurrent.py --torch .venv-bench/bin/python
    python benchmarks/recurrent.py --kind mingru --size 32 --sequence 16 --batch 32

Both sides learn from sequences of 17 numbers and 6 actions: an actor with a memory, and two
critics that share another one, slow copies of all of them, one update of the actor for each of the
critics, as Ni et al. 2022 do. The memories are fed observation, last action and last reward, and
the networks behind them are given observation and state. The other side's memory is
`torch.nn.GRU`, whatever ours is. Ours draws its sequences from a stream; the other side is given
them.

Every measurement is a process of its own, and the two sides alternate. `--acting` times one step
of a policy in NumPy instead, with a memory and without one. The results go to
benchmarks/results/recurrent-DATE.json.
"""

import argparse
import datetime
import itertools
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from ours import learner_of, random_rows, update_rate
from process import machine, package_versions, rate
from speed import run_json

HERE = Path(__file__).resolve().parent
OBS, ACTIONS = 17, 6
TAU, DISCOUNT, LEARNING_RATE, STD, CLIP = 0.005, 0.99, 3e-4, 0.2, 0.5
# Rows that sequences are drawn from, and updates that a chunk of ours pays for.
ROWS, CHUNK = 5_000, 4
STEPS, WARM_UP = 2_000, 200


def ours_options(arguments: argparse.Namespace, kind: str) -> dict[str, Any]:
    """Return the options of our side."""
    network = {"hidden_sizes": arguments.hidden, "lr": LEARNING_RATE, "lr_end": 1}
    memory = {
        "kind": kind,
        "size": arguments.size,
        "sequence": arguments.sequence,
        "fed": ["observation", "action", "reward"],
    }
    return {
        "env": {"id": "HalfCheetah-v5"},
        "memory": memory if kind != "none" else {},
        "actor": network | {"preactivation_penalty": 0},
        "critic": network | {"count": 2, "norm": "none"},
        "target": {"smoothing_clip": CLIP},
        "replay": {"batch_size": arguments.batch, "n_step": 1, "capacity": ROWS},
        "train": {"total_steps": 1_000_000, "learn_after": 100, "device": "cpu"},
    }


def ours_update(arguments: argparse.Namespace) -> float:
    """Return our updates per second."""
    from qmu.layout import Layout

    learner = learner_of(ours_options(arguments, arguments.kind), Layout(OBS), ACTIONS)
    rows = random_rows(1, OBS, ACTIONS, 200)
    for _ in range(ROWS // 200):
        learner.learn(rows, 0)
    return update_rate(learner, rows, CHUNK, arguments.seconds)


def theirs_update(arguments: argparse.Namespace) -> float:
    """Return the other side's updates per second."""
    import torch
    from torch.nn import GRU, Linear, ReLU, Sequential, Tanh, functional

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    seen, fed = OBS + arguments.size, OBS + ACTIONS + 1

    def perceptron(inputs: int, outputs: int) -> Any:
        sizes = [inputs, *arguments.hidden]
        layers = [layer for pair in itertools.pairwise(sizes) for layer in (Linear(*pair), ReLU())]
        return Sequential(*layers, Linear(sizes[-1], outputs))

    def actors() -> Any:
        head = Sequential(perceptron(seen, ACTIONS), Tanh())
        return torch.nn.ModuleDict({"memory": GRU(fed, arguments.size), "head": head})

    def critics() -> Any:
        heads = {name: perceptron(seen + ACTIONS, 1) for name in ("first", "second")}
        return torch.nn.ModuleDict({"memory": GRU(fed, arguments.size), **heads})

    actor, slow_actor, critic, slow_critic = actors(), actors(), critics(), critics()
    slow_actor.load_state_dict(actor.state_dict())
    slow_critic.load_state_dict(critic.state_dict())
    optimizers = [torch.optim.Adam(one.parameters(), LEARNING_RATE) for one in (actor, critic)]

    def recalled(memory: Any, obs: Any, given: Any) -> Any:
        return torch.cat([obs, memory(given)[0]], dim=-1)

    def values(networks: Any, own: Any, action: Any) -> list[Any]:
        both = torch.cat([own, action], dim=-1)
        return [networks[name](both)[..., 0] for name in ("first", "second")]

    long = arguments.sequence + 1
    obs = torch.randn(long, arguments.batch, OBS)
    action = torch.rand(long, arguments.batch, ACTIONS) * 2 - 1
    reward = torch.randn(long, arguments.batch)
    before = torch.cat([torch.zeros_like(action[:1]), action[:-1]])
    brought = torch.cat([torch.zeros_like(reward[:1]), reward[:-1]])
    given = torch.cat([obs, before, brought[..., None]], dim=-1)

    def update() -> None:
        with torch.no_grad():
            after = slow_actor["head"](recalled(slow_actor["memory"], obs, given)[1:])
            noise = (STD * torch.randn_like(after)).clamp(-CLIP, CLIP)
            after = (after + noise).clamp(-1, 1)
            own = recalled(slow_critic["memory"], obs, given)[1:]
            wanted = reward[:-1] + DISCOUNT * torch.min(*values(slow_critic, own, after))
        own = recalled(critic["memory"], obs[:-1], given[:-1])
        loss = sum(functional.mse_loss(one, wanted) for one in values(critic, own, action[:-1]))
        optimizers[1].zero_grad()
        loss.backward()
        optimizers[1].step()
        acted = actor["head"](recalled(actor["memory"], obs[:-1], given[:-1]))
        ascent = -values(critic, own.detach(), acted)[0].mean()
        optimizers[0].zero_grad()
        ascent.backward()
        optimizers[0].step()
        with torch.no_grad():
            pairs = ((slow_actor, actor), (slow_critic, critic))
            for slow, fast in pairs:
                for old, new in zip(slow.parameters(), fast.parameters(), strict=True):
                    old.lerp_(new, TAU)

    def learn() -> int:
        update()
        return 1

    learn()
    return rate(learn, arguments.seconds)


def ours_acting(arguments: argparse.Namespace) -> dict[str, float]:
    """Return the microseconds of one step of an actor, with a memory and without one."""
    import numpy as np

    from qmu.deploy.past import after, initial_state
    from qmu.layout import Layout

    found = {}
    for kind in ("none", arguments.kind):
        learner = learner_of(ours_options(arguments, kind), Layout(OBS), ACTIONS)
        (actor,) = learner.actors(lag=False)
        past = actor.past
        state, obs = initial_state(past, 1), np.zeros((1, OBS), np.float32)
        times = []
        for _ in range(WARM_UP + STEPS):
            started = time.perf_counter()
            seen, state = actor.see(obs, state)
            state = after(past, state, action=actor(seen))
            times.append(time.perf_counter() - started)
        found[kind] = 1e6 * statistics.median(times[WARM_UP:])
    return found


MEASURE = {"ours": ours_update, "theirs": theirs_update}


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure both sides in turn; return medians, the ratios of the rounds, and all figures."""
    sizes = [
        f"--{name}={getattr(arguments, name)}" for name in ("kind", "size", "sequence", "batch")
    ]
    sizes += ["--hidden", *map(str, arguments.hidden), "--seconds", str(arguments.seconds)]
    script = str(Path(__file__).resolve())
    pythons = {"ours": sys.executable, "theirs": str(Path(arguments.torch).absolute())}
    figures: dict[str, list[float]] = {side: [] for side in MEASURE}
    for _ in range(arguments.rounds):
        for side in MEASURE:
            found = run_json([pythons[side], script, side, *sizes])
            figures[side].append(found["per_second"])
    ratios = [one / other for one, other in zip(figures["ours"], figures["theirs"], strict=True)]
    medians = {side: statistics.median(own) for side, own in figures.items()}
    print(
        f"{arguments.kind} {arguments.size}, {arguments.batch} sequences of {arguments.sequence}, "
        f"heads {arguments.hidden}: ours {medians['ours']:.2f}, PyTorch {medians['theirs']:.2f} "
        f"updates/s, {statistics.median(ratios):.2f} times ({min(ratios):.2f} to "
        f"{max(ratios):.2f})",
        flush=True,
    )
    names = ("kind", "size", "sequence", "batch", "hidden")
    case = {name: getattr(arguments, name) for name in names}
    return case | {"ratio": statistics.median(ratios), "figures": figures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=["compare", *MEASURE], default="compare")
    parser.add_argument("--kind", choices=["gru", "mingru"], default="gru")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--sequence", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--hidden", type=int, nargs="+", default=[128, 128])
    parser.add_argument("--acting", action="store_true")
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--torch", default=sys.executable, help="a Python with torch")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    if arguments.acting:
        print(json.dumps({"microseconds": ours_acting(arguments)} | {"machine": machine()}))
        return
    if arguments.what != "compare":
        found = {"per_second": MEASURE[arguments.what](arguments)}
        print(json.dumps(found | {"versions": package_versions()}))
        return
    today = datetime.datetime.now(datetime.UTC).date()
    output = arguments.output or HERE / "results" / f"recurrent-{today}.json"
    result = {"date": str(today), "machine": machine(), "cases": [compare(arguments)]}
    if output.exists():
        result["cases"] = json.loads(output.read_text(encoding="utf-8"))["cases"] + result["cases"]
    output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
