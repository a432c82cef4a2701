"""What a measuring process can say of itself (Linux)."""

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

REPORTED = (
    "qmu",
    "stable-baselines3",
    "sbx-rl",
    "torch",
    "jax",
    "jaxlib",
    "flax",
    "equinox",
    "optax",
    "gymnasium",
    "mujoco",
    "numpy",
)


def process_age() -> float:
    """Seconds since this process was started, imports included, to a hundredth."""
    # Field 22, in ticks since boot. psutil's create_time() can be off by up to a second.
    after_name = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    started = int(after_name[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


def peak_rss_mib() -> float:
    """The most memory this process has held at once, in MiB."""
    # Not getrusage: its ru_maxrss survives exec, so that a large parent would be counted.
    status = Path("/proc/self/status").read_text().splitlines()
    peak_kib = next(line.split()[1] for line in status if line.startswith("VmHWM:"))
    return int(peak_kib) / 1024


def package_versions() -> dict[str, str]:
    """The versions of Python and of the installed packages that matter for speed."""
    versions = {"python": platform.python_version()}
    for package in REPORTED:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def rate(go_on: Callable[[], int], seconds: float) -> float:
    """Return how much is done per second, by calls that return how much they have done."""
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        done += go_on()
    return done / (time.perf_counter() - started)


def wake_microseconds(rounds: int = 2000) -> float:
    """Microseconds that two processes, a core each, need to wake each other: median over rounds.

    It is what every hand-over between two threads of an update costs at least, and differs by
    machine and by what else its host does.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return float("nan")
    echo = (
        f"import os\nos.sched_setaffinity(0, {{{cores[1]}}})\n"
        "while byte := os.read(0, 1):\n    os.write(1, byte)"
    )
    halves = []
    with subprocess.Popen(
        [sys.executable, "-c", echo], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        os.sched_setaffinity(0, {cores[0]})
        for _ in range(rounds):
            before = time.perf_counter()
            other.stdin.write(b"x")
            other.stdout.read(1)
            halves.append((time.perf_counter() - before) / 2 * 1e6)
        os.sched_setaffinity(0, cores)
    return statistics.median(halves)


def machine() -> dict[str, str | int | None]:
    """This machine, in the words of its processor and kernel."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = next((line for line in lines if line.startswith("flags")), "")
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "avx512": int("avx512f" in flags),
        "system": platform.platform(),
    }


def commit() -> str | None:
    """The commit of these files, with -dirty where they differ from it; None without git."""
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None
