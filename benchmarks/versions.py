"""What other versions of the libraries cost: the learner alone, in two environments in turn.

    python benchmarks/versions.py .venv/bin/python .venv-newest/bin/python
    python benchmarks/versions.py OLD NEW --only plain prioritized --rounds 15

Each interpreter has qmu installed. It compiles each kind of program, without a cache, and then does
blocks of updates on random rows (17 observations, 6 actions, 256-256, batch 256), one environment
after the other, in alternating order. Of each: seconds to compile, milliseconds of an update, by
the clock and of processor time. The figure is the median of the rounds' ratios, with their range.
On a machine that does something else beside it, processor time says more than the clock. Parameter
noise is not among the kinds: it is NumPy's. Results: benchmarks/results/versions-DATE.json.
"""

import argparse
import datetime
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from ours import random_rows
from process import machine, package_versions
from switches import PLAIN, SWITCHES, Options

HERE = Path(__file__).resolve().parent
STEPS = 32
OBS, ACTION = 17, 6
SMALL: Options = {name: {"hidden_sizes": [64, 64]} for name in ("actor", "critic")}


class Kind(NamedTuple):
    """A kind of program: options that differ from plain DDPG's, and how many members it trains."""

    options: Options
    members: int = 1


SWITCHED = {switch.name: Kind(switch.options) for switch in SWITCHES}
# The old spelling, which every version reads.
PRIORITIZED = {"replay": {"prioritized": True}}
KINDS = {
    "plain": Kind({}),
    "plain, 64-64, batch 64": Kind(SMALL | {"replay": {"batch_size": 64}}),
    "four members": Kind({}, 4),
    "prioritized, four members": Kind(PRIORITIZED, 4),
    "prioritized": Kind(PRIORITIZED),
    **{
        name: SWITCHED[name]
        for name in (
            "two critics",
            "three critics, two asked",
            "layer norm, both",
            "batch norm, both",
            "observation normalization",
            "n-step 3",
            "target smoothing",
            "gradient clipping",
            "the default recipe",
        )
    },
}


class Student:
    """A learner of one kind, compiled."""

    def __init__(self, kind: Kind) -> None:
        """Compile it, and note how long that took."""
        import jax

        from qmu.config import reading
        from qmu.config.members import members_of
        from qmu.layout import Layout
        from qmu.learning.devices import find_devices
        from qmu.learning.groups import divide
        from qmu.learning.learner import Learner

        options = reading.merge(PLAIN, kind.options)
        options = reading.merge(options, {"train": {"seeds": kind.members, "device": "cpu"}})
        devices = find_devices("cpu")
        jax.config.update("jax_enable_compilation_cache", False)  # type: ignore[no-untyped-call]
        groups = divide(members_of(reading.from_dict(options), {}), devices)
        self.learner = Learner(groups, Layout(OBS), ACTION)
        self.rows = random_rows(kind.members, OBS, ACTION, STEPS)
        started, used = time.perf_counter(), time.process_time()
        self.learner.learn(self.rows, STEPS)
        self.learner.actors(lag=False)
        self.compiling = {
            "seconds": time.perf_counter() - started,
            "processor": time.process_time() - used,
        }
        self.members = kind.members

    def block(self, chunks: int) -> dict[str, float]:
        """Return the milliseconds that an update of a member takes, in so many chunks."""
        started, used = time.perf_counter(), time.process_time()
        for _ in range(chunks):
            self.learner.learn(self.rows, STEPS)
        self.learner.actors(lag=False)
        each = 1000 / (chunks * STEPS * self.members)
        return {
            "ms": each * (time.perf_counter() - started),
            "processor_ms": each * (time.process_time() - used),
        }


def serve() -> None:
    """Do what each line of the input asks for: `["name", kind, chunks]`; an answer is a line."""
    students: dict[str, Student] = {}
    print(json.dumps(package_versions()), flush=True)
    for line in sys.stdin:
        name, kind, chunks = json.loads(line)
        if name not in students:
            students = {name: Student(Kind(*kind))}
            print(json.dumps(students[name].compiling), flush=True)
        else:
            print(json.dumps(students[name].block(chunks)), flush=True)


class Environment:
    """A process of an interpreter that serves."""

    def __init__(self, interpreter: str) -> None:
        """Start it."""
        words = [interpreter, str(Path(__file__).resolve()), "--serve"]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.versions = self.read()

    def read(self) -> dict[str, Any]:
        """Return an answer."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args!r} ended with {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, name: str, chunks: int) -> dict[str, Any]:
        """Return what a kind's next block takes; of a new kind, what compiling it takes."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([name, KINDS[name], chunks]) + "\n")
        self.process.stdin.flush()
        return self.read()

    def close(self) -> None:
        """End it."""
        self.process.communicate()


def compare(
    environments: list[Environment], name: str, rounds: int, chunks: int
) -> dict[str, list[Any]]:
    """Return what a kind takes in each environment: compiling, and then in each round."""
    compiling = [one.ask(name, chunks) for one in environments]
    found: list[list[Any]] = [[] for _ in environments]
    for turn in range(rounds):
        order = list(zip(environments, found, strict=True))
        for one, own in order[:: 1 - 2 * (turn % 2)]:
            own.append(one.ask(name, chunks))
    return {"compiling": compiling, "rounds": found}


def ratios(found: dict[str, list[Any]], what: str) -> list[float]:
    """Return the second environment's times over the first's, round by round."""
    old, new = found["rounds"]
    return [after[what] / before[what] for before, after in zip(old, new, strict=True)]


def main() -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description="Compare versions of the libraries.")
    parser.add_argument("interpreters", nargs="*", help="two: before and after")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--chunks", type=int, default=10, help=f"of a block, {STEPS} updates each")
    parser.add_argument("--only", nargs="+", default=list(KINDS), help="kinds")
    parser.add_argument("--output", type=Path, default=None)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve()
        return
    if len(arguments.interpreters) != 2:
        parser.error("give two interpreters")
    today = datetime.datetime.now().strftime("%Y-%m-%d")
    output = arguments.output or HERE / "results" / f"versions-{today}.json"
    environments = [Environment(interpreter) for interpreter in arguments.interpreters]
    print("after / before, by the clock and of processor time, with the rounds' range; compiling")
    kinds = {}
    for name in arguments.only:
        found = compare(environments, name, arguments.rounds, arguments.chunks)
        kinds[name] = found
        told = []
        for what in ("ms", "processor_ms"):
            each = ratios(found, what)
            told.append(f"{statistics.median(each):.2f} ({min(each):.2f}-{max(each):.2f})")
        before, after = (one["processor"] for one in found["compiling"])
        print(f"  {name:26} {'  '.join(told)}  {before:.1f} s, {after:.1f} s", flush=True)
    report = {
        "command": ["python", "benchmarks/versions.py", *sys.argv[1:]],
        "date": today,
        "machine": machine(),
        "versions": [one.versions for one in environments],
        "kinds": kinds,
    }
    for one in environments:
        one.close()
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"written to {output}")


if __name__ == "__main__":
    main()
