"""The process that talks to Weights & Biases, so that nothing of it can hold up or end a run.

python -m qmu.watching.wandb_worker: takes one JSON object per line, and answers with some.
python -m qmu.watching.wandb_worker --check: says whether the service knows who asks.

Its signals, exit hooks and threads are its own. When the run is gone, its input ends, and it, too.
"""

import base64
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from qmu.errors import told

# What a run's status is to the service, which knows a code only.
CODES = {"finished": 0, "interrupted": 130, "stopped": 143}


class Account:
    """The service's runs of one run of qmu."""

    def __init__(self, asked: Mapping[str, Any]) -> None:
        """Open them, as asked; where the service cannot be reached, they are kept in files.

        Raises:
            Exception: of any kind, from the library.
        """
        self.asked = asked
        self.unreachable: str | None = None
        try:
            self.runs = self.open(asked["mode"])
        except Exception as error:
            if asked["mode"] == "offline":
                raise
            import wandb

            self.unreachable = in_a_line(error)
            wandb.teardown()
            self.runs = self.open("offline")
        # The library has links to logs elsewhere, and a run's directory holds none.
        for place, _, files in os.walk(Path(asked["directory"]) / "wandb"):
            for name in files:
                if os.path.islink(path := os.path.join(place, name)):
                    os.unlink(path)

    def open(self, mode: Any) -> dict[str, Any]:
        """Return the service's runs, by member."""
        return {
            one["member"]: self.begin(one, mode, index)
            for index, one in enumerate(self.asked["runs"])
        }

    def begin(self, one: Mapping[str, Any], mode: Any, index: int) -> Any:
        """Return one of the service's runs."""
        import wandb

        wanted = {
            "console": "off",
            "silent": True,
            "save_code": False,
            "program": "qmu",
            "init_timeout": self.asked["seconds"],
            "symlink": False,
            # Once is enough, and of the process that trains.
            "x_disable_stats": index > 0,
            "x_stats_pid": os.getppid(),
        }
        known = wandb.Settings.model_fields
        settings = {name: value for name, value in wanted.items() if name in known}
        run = wandb.init(
            mode=mode,
            dir=self.asked["directory"],
            project=self.asked["project"],
            group=self.asked["group"],
            job_type="train",
            tags=self.asked["tags"],
            id=one["id"],
            name=one["name"],
            config=one["config"],
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(**settings),
        )
        # Lines of a run that was gone on with come again, with steps that were there before.
        run.define_metric("step", hidden=True)
        run.define_metric("*", step_metric="step")
        return run

    def run_of(self, member: str) -> tuple[Any, str]:
        """Return the run that a member's values belong to, and what their names begin with."""
        if self.asked["one"]:
            (run,) = self.runs.values()
            return run, f"{member}/" if self.asked["named"] else ""
        return self.runs.get(member), ""

    def write(self, told: Mapping[str, Any]) -> None:
        """Log a member's metrics; mean and spread over members are left to the service."""
        run, prefix = self.run_of(told["member"])
        if run is not None:
            values = {f"{prefix}{name}": value for name, value in told["values"].items()}
            run.log({"step": told["step"], **values})

    def show(self, told: Mapping[str, Any]) -> None:
        """Log a video or a picture; what is of no member goes to the first."""
        import wandb

        run, prefix = self.run_of(told["member"])
        if "path" in told:
            media: Any = wandb.Video(told["path"], format="mp4")
        else:
            from PIL import Image

            media = wandb.Image(Image.open(io.BytesIO(base64.b64decode(told["png"]))))
        run = run or next(iter(self.runs.values()))
        run.log({"step": told["step"], f"{prefix}{told['name']}": media})

    def close(self) -> None:
        """Hand over the final scores and the best policies, and wait until all is there."""
        directory = Path(self.asked["directory"])
        try:
            described = json.loads((directory / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            described = {}
        status = described.get("status", "failed")
        scores = described.get("members", [])
        for member, score in zip(self.asked["members"], scores, strict=False):
            run, prefix = self.run_of(member)
            known = {name: value for name, value in score.items() if value is not None}
            run.summary.update({f"{prefix}{name}": value for name, value in known.items()})
        for member, run in self.runs.items():
            run.summary["status"] = status
            self.hand_over(run, directory / "best" / ("" if self.asked["one"] else member))
        for run in self.runs.values():
            run.finish(exit_code=CODES.get(status, 1))

    def hand_over(self, run: Any, folder: Path) -> None:
        """Log the files of a policy, if there are some."""
        import wandb

        files = [folder / name for name in ("policy.safetensors", "policy.json")]
        if all(file.is_file() for file in files):
            artifact = wandb.Artifact(f"policy-{run.id}", type="policy")
            for file in files:
                artifact.add_file(str(file))
            run.log_artifact(artifact)


def in_a_line(error: Exception) -> str:
    """Return what has gone wrong, as far as the first line says."""
    return told(error).partition("\n")[0]


def obey(lines: Iterator[str], answer: TextIO) -> None:
    """Do what the lines say, one after another; answer what has gone wrong."""

    def say(**words: Any) -> None:
        print(json.dumps(words), file=answer, flush=True)

    account: Account | None = None
    try:
        for line in lines:
            told = json.loads(line)
            if told["do"] == "open":
                account = Account(told)
                if account.unreachable:
                    say(unreachable=account.unreachable)
            elif account is not None and told["do"] == "write":
                account.write(told)
            elif account is not None and told["do"] == "show":
                account.show(told)
        if account is not None:
            account.close()
        say(done=True)
    except Exception as error:
        say(failed=in_a_line(error))


def check() -> dict[str, Any]:
    """Return whether the library is there and has a key; asks nobody and nothing."""
    try:
        import wandb
    except Exception as error:
        return {"broken": in_a_line(error)}
    try:
        return {"key": bool(wandb.login(verify=False))}
    except Exception as error:
        return {"key": False, "why": str(error)}


def main(words: list[str]) -> int:
    """Do what the words of the command say; return the exit code."""
    # What the library prints goes nowhere; what it is asked for comes through here.
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as answer:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
        if words == ["--check"]:
            print(json.dumps(check()), file=answer, flush=True)
        else:
            obey(iter(sys.stdin), answer)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
