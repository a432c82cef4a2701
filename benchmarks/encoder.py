"""Compare one update of an encoder of images with the same program in PyTorch, side by side.

    python benchmarks/encoder.py --torch PYTHON         # a Python that has torch
    python benchmarks/encoder.py --torch PYTHON --rounds 5 --only strided --batch 64 --side 84

An update is a forward pass of bytes through convolutions and trunk, a backward pass of a mean of
squares, and a step of Adam; ours are steps of a compiled loop, as in the learner. Every measurement
is a process of its own, and those of one case alternate, so that a drift of the machine's speed
meets both. The results go to benchmarks/results/encoder-DATE.json.
"""

import argparse
import datetime
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from process import machine, package_versions
from speed import run_json

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
STRIDES = {"strided": (2, 2, 2, 1), "drqv2": (2, 1, 1, 1)}
FEATURES, CHANNELS, SIDE = 50, 32, 3
LEARNING_RATE = 1e-4


def milliseconds(update: Callable[[int], None], updates: int, blocks: int) -> dict[str, float]:
    """Return the time of one update, over blocks of some, after a first block.

    Beside the median the fastest block's, and the processor's time: PyTorch's threads wait for
    each other in a loop, and one other program at work makes an update ten times as long.
    """
    update(updates)
    times, cpu = [], []
    for _ in range(blocks):
        before = time.perf_counter(), time.process_time()
        update(updates)
        times.append((time.perf_counter() - before[0]) / updates * 1e3)
        cpu.append((time.process_time() - before[1]) / updates * 1e3)
    return {
        "milliseconds": statistics.median(times),
        "fastest": min(times),
        "processor": statistics.median(cpu),
    }


def batches(arguments: argparse.Namespace) -> Any:
    """Return two batches of random images, which updates take in turns."""
    import numpy as np

    shape = (2, arguments.batch, arguments.side, arguments.side, arguments.channels)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def measure_ours(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time updates in a compiled loop."""
    import jax
    import jax.numpy as jnp

    from qmu import config
    from qmu.agent.encoder import encoder_step, init_encoder, init_encoder_optimizer

    settings = config.Encoder(kind=arguments.kind, features=FEATURES, lr=LEARNING_RATE)
    both = jnp.asarray(batches(arguments))
    shape = (arguments.side, arguments.side, arguments.channels)
    encoder = init_encoder(jax.random.key(0), [shape], settings)
    none = jnp.zeros((arguments.batch, 0))

    def loss(encoder: Any, images: Any) -> Any:
        return jnp.mean(jnp.square(encoder(none, (images,))))

    @jax.jit
    def loop(now: Any, both: Any, count: int) -> Any:
        def step(index: Any, now: Any) -> Any:
            gradient = jax.grad(loss)(now[0], both[index % 2])
            return encoder_step(now[0], gradient, now[1], settings)

        return jax.lax.fori_loop(0, count, step, now)

    start = encoder, init_encoder_optimizer(encoder)

    def update(count: int) -> None:
        jax.block_until_ready(loop(start, both, count))  # type: ignore[no-untyped-call]

    return milliseconds(update, arguments.updates, arguments.blocks)


def measure_torch(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time the same updates in PyTorch, channels last, on all cores."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    layers: list[Any] = []
    inputs, side = arguments.channels, arguments.side
    for stride in STRIDES[arguments.kind]:
        layers += [torch.nn.Conv2d(inputs, CHANNELS, SIDE, stride), torch.nn.ReLU()]
        inputs, side = CHANNELS, (side - SIDE) // stride + 1
    layers += [
        torch.nn.Flatten(),
        torch.nn.Linear(side * side * CHANNELS, FEATURES),
        torch.nn.LayerNorm(FEATURES),
        torch.nn.Tanh(),
    ]
    encoder = torch.nn.Sequential(*layers).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(encoder.parameters(), LEARNING_RATE)
    # Channels first by their names, last in memory.
    both = [torch.from_numpy(images).permute(0, 3, 1, 2) for images in batches(arguments)]

    def update(count: int) -> None:
        for index in range(count):
            numbers = both[index % 2].float() * (1 / 255) - 0.5
            loss = encoder(numbers).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return milliseconds(update, arguments.updates, arguments.blocks)


MEASURE = {"ours": measure_ours, "torch": measure_torch}


def compare(
    arguments: argparse.Namespace, kind: str, batch: int, image: list[int]
) -> dict[str, Any]:
    """Measure both in turns, say medians and the range of the rounds' ratios, and return all."""
    side, channels = image
    words = f"--kind {kind} --batch {batch} --side {side} --channels {channels}"
    words += f" --updates {arguments.updates} --blocks {arguments.blocks}"
    words += f" --cores {arguments.cores}"
    pythons = {"ours": arguments.ours, "torch": arguments.torch}
    rounds = [
        {
            name: run_json([python, str(Path(__file__).resolve()), name, *words.split()])
            for name, python in pythons.items()
        }
        for _ in range(arguments.rounds)
    ]
    case: dict[str, Any] = {"kind": kind, "batch": batch, "image": [side, side, channels]}
    case["versions"] = {name: rounds[0][name]["versions"] for name in pythons}
    print(f"  {kind:8} batch {batch:3}  {side} x {side} x {channels}", flush=True)
    for figure in ("milliseconds", "fastest", "processor"):
        times = {name: [one[name][figure] for one in rounds] for name in pythons}
        ratios = [own / other for own, other in zip(times["ours"], times["torch"], strict=True)]
        case[figure] = {"times": times, "ratios": ratios, "ratio": statistics.median(ratios)}
        told = "  ".join(f"{name} {statistics.median(own):7.1f}" for name, own in times.items())
        print(
            f"    {figure:12}  {told}  ours / torch {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f}-{max(ratios):.2f})",
            flush=True,
        )
    return case


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=["compare", *MEASURE], default="compare")
    parser.add_argument("--kind", choices=STRIDES, nargs="+", default=list(STRIDES))
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--side", type=int, nargs="+", default=[84])
    parser.add_argument("--channels", type=int, nargs="+", default=[9])
    parser.add_argument("--updates", type=int, default=5, help="in a block")
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="to compute on")
    parser.add_argument("--ours", default=sys.executable, help="a Python that has qmu")
    parser.add_argument(
        "--torch", default=str(ROOT / ".venv-bench" / "bin" / "python"), help="one that has torch"
    )
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    if arguments.what != "compare":
        for name in ("kind", "batch", "side", "channels"):
            (one,) = getattr(arguments, name)
            setattr(arguments, name, one)
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
        found = MEASURE[arguments.what](arguments)
        print(json.dumps(found | {"versions": package_versions()}))
        return
    images = itertools.product(arguments.side, arguments.channels)
    cases = [
        compare(arguments, kind, batch, list(image))
        for image, kind, batch in itertools.product(images, arguments.kind, arguments.batch)
    ]
    today = datetime.datetime.now(datetime.UTC).date()
    output = arguments.output or HERE / "results" / f"encoder-{today}.json"
    result = {"date": str(today), "machine": machine(), "cases": cases}
    output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({"ratios": [case["milliseconds"]["ratio"] for case in cases]}))


if __name__ == "__main__":
    main()
