"""The beginning of the program, `qmu` or `python -m qmu`."""

import signal


def main() -> int:
    """Run the command line; Ctrl-C ends the process without a traceback from the first moment."""
    hears = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if hears:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from qmu import cli

    if hears:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return cli.main()


if __name__ == "__main__":
    raise SystemExit(main())
