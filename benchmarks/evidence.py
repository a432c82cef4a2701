"""Write down what a run has learned, every seed, as a result to keep.

    qmu train Pendulum-v1 --env.pixels 48 --env.frames 3 --seeds 3 ...
    python benchmarks/evidence.py runs/Pendulum-v1/ddpg-... pixels-Pendulum-v1 --commit d31e5af

The curve of each seed's evaluations, its best policy's score on new episodes, the options that
differ from the defaults, the machine and the versions go to benchmarks/results/NAME.json.
`--commit` is that of qmu, which a run in another folder cannot know.
"""

import argparse
import json
from pathlib import Path

from process import machine

import qmu
from qmu.config import Config, reading

RESULTS = Path(__file__).resolve().parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description="Keep what a run has learned.")
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--commit", required=True)
    arguments = parser.parse_args()
    run = qmu.open_run(arguments.run)
    lines = [
        json.loads(line)
        for line in (run.directory / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    curves = {
        member.name: [
            [line["step"], round(line["eval/mean_reward"], 2)]
            for line in lines
            if line["member"] == member.name and "eval/mean_reward" in line
        ]
        for member in run.members
    }
    if not any(curves.values()):
        # A run of one seed names no member.
        curves = {
            "seed-0": [[x["step"], x["eval/mean_reward"]] for x in lines if "eval/mean_reward" in x]
        }
    kept = {
        "date": run.info["started"][:10],
        "commit": arguments.commit,
        "machine": machine(),
        "versions": run.info["versions"] | {"python": run.info["python"]},
        "world": run.info["environment"],
        "status": run.info["status"],
        # Where a run lies is nobody's business.
        "options": [
            line.split("  ")[0]
            for line in reading.differences(run.config, Config())
            if not line.startswith("--log.")
        ],
        "seconds": max(line["seconds"] for line in lines),
        "curves": curves,
        "best_policies": run.info.get("members"),
    }
    path = RESULTS / f"{arguments.name}.json"
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    for member in kept["best_policies"] or []:
        score, step = member["final_mean_reward"], member["best_step"]
        print(f"seed {member['seed']}: {score:.1f}, of step {step}")
    print(f"written to {path}")


if __name__ == "__main__":
    main()
