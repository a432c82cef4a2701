"""What a program prints on one core, and on two."""

import subprocess
import sys

ON = "import os; os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:{cores}]))\n"


def printed_on_one_and_two(program):
    """Return the different texts that a program prints on so many cores."""
    return {
        subprocess.run(
            [sys.executable, "-c", ON.format(cores=cores) + program],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for cores in (1, 2)
    }
