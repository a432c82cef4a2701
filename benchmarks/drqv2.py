"""Compare qmu with the agent of DrQ-v2 in PyTorch, side by side: updates, and whole loops.

    python benchmarks/drqv2.py                          # a Python with qmu, torch and dm_control
    python benchmarks/drqv2.py --batch 64 --only update
    python benchmarks/drqv2.py --only update --same     # both with the default encoder

The other side is the agent of Yarats et al. 2021, written anew by their program
(github.com/facebookresearch/drqv2, commit c0c650b): its networks, shifts, losses and the order of
its loop, an update every second step. Its replay lies in memory here, where theirs lies in files
that four processes read, and it logs nothing; its pictures have shadows, as theirs have. Ours is
the preset yarats2021-drqv2, with the default encoder and with that of the paper. With `--same` the
other side has our encoder, too, in PyTorch.

Every measurement is a process of its own, and those of one case alternate, so that a drift of the
machine's speed meets both. The results go to benchmarks/results/drqv2-DATE.json.
"""

import argparse
import collections
import datetime
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ours import learner_of, random_rows, update_rate
from process import machine, package_versions, rate
from speed import run_json

HERE = Path(__file__).resolve().parent
DOMAIN, TASK = "cartpole", "swingup"
WORLD = f"dm_control/{DOMAIN}-{TASK}-v0"
SIDE, FRAMES, ACTIONS, REPEAT, EVERY = 84, 3, 1, 2, 2
STRIDES = {"strided": (2, 2, 2, 1), "drqv2": (2, 1, 1, 1)}
FEATURES, HIDDEN, CHANNELS, PAD, CLIP, TAU = 50, 1024, 32, 4, 0.3, 0.01
STEPS, DISCOUNT, LEARNING_RATE, STD = 3, 0.99, 1e-4, 0.5
# Steps of a loop before updates begin, and updates before time is taken.
RANDOM_STEPS, WARM_UPDATES = 300, 10
# Updates that a chunk of ours pays for.
CHUNK = 8


def ours_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options of our side."""
    from qmu.config import reading
    from qmu.presets import read_preset

    changes = {
        "env": {"id": WORLD},
        "encoder": {"kind": arguments.kind},
        "replay": {"batch_size": arguments.batch, "capacity": 20_000},
        "explore": {"start_steps": RANDOM_STEPS},
        "train": {
            "learn_after": RANDOM_STEPS,
            "eval_interval": 0,
            "save_interval": 0,
            "eval_episodes": 1,
            "device": "cpu",
            "seeds": 1,
        },
    }
    return reading.merge(read_preset("yarats2021-drqv2"), changes)


def ours_update(arguments: argparse.Namespace) -> float:
    """Return our updates per second."""
    import numpy as np

    from qmu.layout import Layout

    layout = Layout(0, ((SIDE, SIDE, 3),), FRAMES)
    learner = learner_of(ours_options(arguments), layout, ACTIONS)
    rows = random_rows(1, 1, ACTIONS, 50)
    images = (*rows.reward.shape, layout.size)
    random = np.random.default_rng(0)
    rows = rows._replace(obs=random.integers(0, 256, images, dtype=np.uint8))
    for _ in range(10):
        learner.learn(rows, 1)
    return update_rate(learner, rows, CHUNK, arguments.seconds)


def ours_loop(arguments: argparse.Namespace) -> float:
    """Return our frames per second: acting, drawing and learning side by side."""
    from qmu.config import reading
    from qmu.learning.loop import Trainer
    from qmu.world.make import maker_of

    config = reading.from_dict(ours_options(arguments))
    trainer = Trainer(config, maker_of(WORLD, config.env))
    loop = iter(trainer.run(sys.maxsize, evaluating=False))

    def settled() -> tuple[float, int]:
        trainer.learner.settle()
        return time.perf_counter(), trainer.learner.updates

    while trainer.learner.updates < WARM_UPDATES:
        next(loop)
    started, before = settled()
    while time.perf_counter() - started < arguments.seconds:
        next(loop)
    # Steps run ahead of the updates that they pay for: frames are those of updates that are done.
    ended, after = settled()
    return (after - before) * EVERY * REPEAT / (ended - started)


def theirs(
    strides: tuple[int, ...],
) -> tuple[Callable[[Any], Any], Callable[[Any], None]]:
    """Return how the other side acts, and how it updates itself on a batch.

    Its convolutions have these strides.
    """
    import torch
    from torch.nn import Conv2d, LayerNorm, Linear, ReLU, Sequential, Tanh, functional

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    side, channels = SIDE, 3 * FRAMES
    convolutions: list[Any] = []
    for stride in strides:
        convolutions += [Conv2d(channels, CHANNELS, 3, stride), ReLU()]
        side, channels = (side - 3) // stride + 1, CHANNELS
    convolutions.append(torch.nn.Flatten())
    encoder = Sequential(*convolutions)

    def trunk() -> Any:
        return Sequential(Linear(CHANNELS * side * side, FEATURES), LayerNorm(FEATURES), Tanh())

    def perceptron(inputs: int, outputs: int) -> Any:
        sizes = Linear(inputs, HIDDEN), ReLU(), Linear(HIDDEN, HIDDEN), ReLU()
        return Sequential(*sizes, Linear(HIDDEN, outputs))

    def critics() -> Any:
        heads = {name: perceptron(FEATURES + ACTIONS, 1) for name in ("first", "second")}
        return torch.nn.ModuleDict({"trunk": trunk(), **heads})

    def values(networks: Any, seen: Any, action: Any) -> list[Any]:
        both = torch.cat([networks["trunk"](seen), action], -1)
        return [networks[name](both) for name in ("first", "second")]

    actor = Sequential(trunk(), perceptron(FEATURES, ACTIONS), Tanh())
    critic, target = critics(), critics()
    target.load_state_dict(critic.state_dict())
    optimizers = [
        torch.optim.Adam(network.parameters(), LEARNING_RATE)
        for network in (encoder, critic, actor)
    ]

    def noisy(mean: Any) -> Any:
        noise = (STD * torch.randn_like(mean)).clamp(-CLIP, CLIP)
        moved = mean + noise
        # In range, with the gradient of what was not clipped.
        return moved + (moved.clamp(-1, 1) - moved).detach()

    def shifted(images: Any) -> Any:
        padded = functional.pad(images, (PAD,) * 4, "replicate")
        whole = SIDE + 2 * PAD
        line = torch.linspace(-1 + 1 / whole, 1 - 1 / whole, whole)[:SIDE]
        grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)[None]
        moves = torch.randint(0, 2 * PAD + 1, (len(images), 1, 1, 2)) * (2 / whole)
        return functional.grid_sample(padded, grid + moves, "bilinear", "zeros", False)

    def update(batch: Any) -> None:
        obs, action, reward, discount, next_obs = map(torch.from_numpy, batch)
        seen = encoder(shifted(obs.float()) / 255 - 0.5)
        with torch.no_grad():
            next_seen = encoder(shifted(next_obs.float()) / 255 - 0.5)
            next_values = values(target, next_seen, noisy(actor(next_seen)))
            wanted = reward + discount * torch.min(*next_values)
        loss = sum(functional.mse_loss(value, wanted) for value in values(critic, seen, action))
        for optimizer in optimizers[:2]:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers[:2]:
            optimizer.step()
        seen = seen.detach()
        ascent = -torch.min(*values(critic, seen, noisy(actor(seen)))).mean()
        optimizers[2].zero_grad()
        ascent.backward()
        optimizers[2].step()
        with torch.no_grad():
            for slow, fast in zip(target.parameters(), critic.parameters(), strict=True):
                slow.lerp_(fast, TAU)

    def act(obs: Any) -> Any:
        with torch.no_grad():
            mean = actor(encoder(torch.from_numpy(obs)[None].float() / 255 - 0.5))
            return (mean + STD * torch.randn_like(mean)).clamp(-1, 1)[0].numpy()

    return act, update


def strides_of(arguments: argparse.Namespace) -> tuple[int, ...]:
    """Return the strides of the other side's convolutions: theirs, or those of our encoder."""
    return STRIDES[arguments.kind if arguments.same else "drqv2"]


def theirs_update(arguments: argparse.Namespace) -> float:
    """Return the other side's updates per second."""
    import numpy as np

    random, images = np.random.default_rng(0), (arguments.batch, 3 * FRAMES, SIDE, SIDE)
    column = arguments.batch, 1
    batch = (
        random.integers(0, 256, images, dtype=np.uint8),
        random.uniform(-1, 1, (arguments.batch, ACTIONS)).astype(np.float32),
        random.normal(size=column).astype(np.float32),
        np.full(column, DISCOUNT**STEPS, np.float32),
        random.integers(0, 256, images, dtype=np.uint8),
    )
    _, update = theirs(strides_of(arguments))

    def learn() -> int:
        update(batch)
        return 1

    learn()
    return rate(learn, arguments.seconds)


def theirs_loop(arguments: argparse.Namespace) -> float:
    """Return the other side's frames per second."""
    import numpy as np
    from dm_control import suite

    env = suite.load(DOMAIN, TASK, task_kwargs={"random": 0})
    act, update = theirs(strides_of(arguments))
    random = np.random.default_rng(0)
    stacks: list[Any] = []
    actions: list[Any] = []
    rewards: list[float] = []
    # Where episodes end, no window begins.
    frames: collections.deque[Any] = collections.deque(maxlen=FRAMES)
    begins: list[int] = []

    def look() -> Any:
        picture = env.physics.render(SIDE, SIDE, camera_id=0)
        frames.append(picture.transpose(2, 0, 1))
        while len(frames) < FRAMES:
            frames.append(frames[-1])
        return np.concatenate(frames)

    def drawn() -> Any:
        at = random.choice(begins, arguments.batch)
        windows = np.array([rewards[index : index + STEPS] for index in at])
        reward = windows @ (DISCOUNT ** np.arange(STEPS))
        return (
            np.stack([stacks[index] for index in at]),
            np.stack([actions[index] for index in at]).astype(np.float32),
            reward[:, None].astype(np.float32),
            np.full((arguments.batch, 1), DISCOUNT**STEPS, np.float32),
            np.stack([stacks[index + STEPS] for index in at]),
        )

    env.reset()
    state = {"step": 0, "length": 0, "updates": 0}
    stacks.append(look())

    def advance() -> int:
        action = act(stacks[-1])
        state["step"] += 1
        learning = state["step"] > RANDOM_STEPS
        if not learning:
            action = random.uniform(-1, 1, ACTIONS)
        elif state["step"] % EVERY == 0:
            update(drawn())
            state["updates"] += 1
        reward, ended = 0.0, False
        for _ in range(REPEAT):
            moment = env.step(action)
            reward += moment.reward or 0.0
            ended = moment.last()
            if ended:
                break
        actions.append(action)
        rewards.append(reward)
        stacks.append(look())
        state["length"] += 1
        if state["length"] >= STEPS:
            begins.append(len(stacks) - 1 - STEPS)
        if ended:
            env.reset()
            frames.clear()
            actions.append(action)
            rewards.append(0.0)
            stacks.append(look())
            state["length"] = 0
        return REPEAT

    while state["updates"] < WARM_UPDATES:
        advance()
    return rate(advance, arguments.seconds)


MEASURE = {
    "ours-update": ours_update,
    "theirs-update": theirs_update,
    "ours-loop": ours_loop,
    "theirs-loop": theirs_loop,
}


def compare(arguments: argparse.Namespace, what: str, kind: str, batch: int) -> dict[str, Any]:
    """Measure both in turns, say medians and the range of the rounds' ratios, and return all."""
    words = f"--kind {kind} --batch {batch} --seconds {arguments.seconds}".split()
    words += ["--same"] if arguments.same else []
    sides = ("ours", "theirs")
    pythons = {"ours": sys.executable, "theirs": str(Path(arguments.torch).absolute())}
    rounds = [
        {
            side: run_json([pythons[side], str(HERE / "drqv2.py"), f"{side}-{what}", *words])
            for side in sides
        }
        for _ in range(arguments.rounds)
    ]
    rates = {side: [one[side]["per_second"] for one in rounds] for side in sides}
    ratios = [own / other for own, other in zip(rates["ours"], rates["theirs"], strict=True)]
    told = "  ".join(f"{side} {statistics.median(own):7.2f}" for side, own in rates.items())
    unit = {"update": "updates/s", "loop": "frames/s"}[what]
    print(
        f"  {what:6} batch {batch:3}  our encoder {kind:8}  {unit:9}  {told}  ours / theirs "
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
        flush=True,
    )
    case = {"what": what, "unit": unit, "kind": kind, "batch": batch, "same": arguments.same}
    return case | {
        "image": [SIDE, SIDE, 3 * FRAMES],
        "rates": rates,
        "ratios": ratios,
        "ratio": statistics.median(ratios),
        "versions": rounds[0]["ours"]["versions"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=["compare", *MEASURE], default="compare")
    parser.add_argument("--only", choices=["update", "loop"], nargs="+", default=["update", "loop"])
    parser.add_argument("--kind", choices=["strided", "drqv2"], nargs="+", default=["strided"])
    parser.add_argument("--same", action="store_true", help="the other side has our encoder, too")
    parser.add_argument("--batch", type=int, nargs="+", default=[256])
    parser.add_argument("--seconds", type=float, default=30, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--torch", default=sys.executable, help="a Python with torch")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    if arguments.what != "compare":
        for name in ("kind", "batch"):
            (one,) = getattr(arguments, name)
            setattr(arguments, name, one)
        found = {"per_second": MEASURE[arguments.what](arguments)}
        print(json.dumps(found | {"versions": package_versions()}))
        return
    cases = [
        compare(arguments, what, kind, batch)
        for what in arguments.only
        for kind in arguments.kind
        for batch in arguments.batch
    ]
    today = datetime.datetime.now(datetime.UTC).date()
    output = arguments.output or HERE / "results" / f"drqv2-{today}.json"
    result = {"date": str(today), "machine": machine(), "cases": cases}
    output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({"ratios": [case["ratio"] for case in cases]}))


if __name__ == "__main__":
    main()
