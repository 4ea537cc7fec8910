"""The command line. Importing this package is cheap; click and rich come with the first command."""

__all__ = ["main"]


def main() -> None:
    """Run ``loki-storage`` with the process's arguments, and exit.

    Exit codes: 0 well, 1 something in the input failed, 2 wrong usage or a storage that cannot be
    used, 130 interrupted.
    """
    from loki_storage.cli.application import run

    run()
