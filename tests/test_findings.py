"""Findings keep their form: a script each, which pins, cleans up, does without qmu and can fail."""

import re
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "findings"
SCRIPTS = sorted(FOLDER.glob("*.sh"))


def test_the_table_names_every_finding():
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| \[([\w-]+)\]\(\1\.sh\) \|", page, re.MULTILINE) == [
        script.stem for script in SCRIPTS
    ]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_finding_has_its_form(script):
    text = script.read_text(encoding="utf-8")
    assert script.stat().st_mode & 0o100, "it cannot be executed"
    subprocess.run(["bash", "-n", script], check=True)
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    comment = text[: text.index("\nset -euo pipefail\n")]
    for part in ("\n# Expected: ", "\n# Seen: ", "\n# It matters "):
        assert part in comment, part
    code = "\n".join(lines)
    assert 'folder=$(mktemp -d)\ntrap \'rm -rf "$folder"\' EXIT\ncd "$folder"\n' in code
    (install,) = re.findall(r"^env/bin/python -m pip install --quiet (.*)$", code, re.MULTILINE)
    packages = [word.strip("'") for word in install.split()]
    assert packages
    for package in packages:
        assert re.fullmatch(r"[\w-]+(\[\w+\])?==[\w.]+", package), package
    assert not re.search(r"\bqmu\b|https?://|--index|/home/|/root/", code, re.IGNORECASE)
    assert not re.search(r"\b20[2-9]\d\b", code), "it is of one year"
    # What was seen is compared with what is seen now.
    assert "\ncat seen\ndiff seen - <<'END'\n" in code
    stated = code.rpartition("diff seen - <<'END'\n")[2]
    assert "expected" in stated
    assert "seen" in stated
