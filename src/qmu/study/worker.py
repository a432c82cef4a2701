"""The process that trains one program of a study; it saves and ends when its input does.

python -m qmu.study.worker DIRECTORY WORLD ARM,ARM,... CORES [MODULE:ENVIRONMENT ...]
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path

from qmu import config as options
from qmu.errors import QmuError
from qmu.study.folder import RUNS, STUDY_FILE, can_go_on, find_program, open_directory, run_of
from qmu.study.work import PATIENCE


def main(words: list[str]) -> int:
    """Train the program, or go on with it; return the exit code."""
    directory, world, arms, processors, *typed = words
    folder = Path(directory)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [int(one) for one in processors.split(",")])
    # Not before: JAX counts the processors.
    from qmu.runs.resume import resume
    from qmu.runs.train import train_config
    from qmu.saving import storage
    from qmu.watching.console import Console
    from qmu.world.named import check_id_in_file

    try:
        program = find_program(open_directory(folder), folder, world, arms)
        run = run_of(folder, program)
        if world not in typed:
            check_id_in_file(world, folder / STUDY_FILE, "give it on the command line, with --env")
        if run is not None and can_go_on(run):
            resume(run.directory, env=world, progress=True)
        else:
            if run is not None:
                storage.remove(run.directory)
            config = options.replace(
                program.config, "log", dir=str(folder / RUNS), name=program.name
            )
            train_config(config, console=Console(), arms=program.arms)
    except QmuError as error:
        print(error.told(), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def end_with_input() -> None:
    """Wait until whoever has started this process is gone; then save and end."""
    # Not through sys.stdin, whose lock Python waits for at its end.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=end_with_input, daemon=True).start()
    sys.exit(main(sys.argv[1:]))
