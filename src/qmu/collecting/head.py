"""A Ray cluster of this machine alone, kept by a process of its own.

python -m qmu.collecting.head PROCESSORS

It prints its address, and ends when its input does, which is when whoever has started it is gone.
In the process that trains it could not be started: Ray forks, which a process that runs JAX must
not, and signals to a group of processes would end it before a run has saved.
"""

import contextlib
import logging
import subprocess
import sys

from qmu.errors import ConfigError

# Seconds that a cluster has to end.
PATIENCE = 15.0
# Bytes that it keeps messages in.
SHARED_MEMORY = 256 * 2**20


class Head:
    """The end of the process that has started a cluster."""

    def __init__(self, processors: int) -> None:
        """Start it; `address` waits until it is there."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "qmu.collecting.head", str(processors)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Ctrl-C in a terminal is for the run, which ends it.
            process_group=0,
        )

    def address(self) -> str:
        """Return its address. Raises ConfigError where it did not start."""
        assert self.process.stdout is not None
        address = self.process.stdout.readline().strip()
        if address:
            return address
        _, said = self.process.communicate()
        last = said.strip().rpartition("\n")[2]
        raise ConfigError(f"Ray does not start on this machine: {last}")

    def close(self) -> None:
        """End it; nobody may be connected to it any more."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.communicate(timeout=PATIENCE)
        self.process.kill()
        self.process.wait()


def main(processors: int) -> None:
    """Keep a cluster until the input ends."""
    import ray

    ray.init(
        address="local",
        num_cpus=processors,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=SHARED_MEMORY,
    )
    print(ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.read()
    ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
