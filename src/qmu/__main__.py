"""`python -m qmu`."""

from qmu.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
