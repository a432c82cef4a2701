"""What MuJoCo has said in a run, in a file of the run's directory."""

from pathlib import Path

from qmu.watching.logbook import Tell
from qmu.world import hearing


class Messages:
    """Writes each kind of message once, in the words of the first one.

    Of those that matter a person is told, too.
    """

    def __init__(self, file: Path, tell: Tell) -> None:
        """Go on with what is in the file, where it is there."""
        self.file, self.tell = file, tell
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        self.known = {hearing.kind_of(line.partition(": ")[2]) for line in lines}

    def write(self, step: int) -> None:
        """Write down what has been heard before a step of the run."""
        for text in hearing.take():
            kind = hearing.kind_of(text)
            if kind in self.known:
                continue
            self.known.add(kind)
            if hearing.matters(text):
                self.tell(f"MuJoCo said, before step {step}: {text}")
            try:
                with self.file.open("a", encoding="utf-8") as file:
                    file.write(f"before step {step}: {text}\n")
            except OSError as error:
                self.tell(f"{self.file} cannot be written: {error}")
