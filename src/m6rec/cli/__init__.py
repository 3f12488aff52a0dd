"""The command line: one file a command, every one of them over the public API. The other rooms are imported inside the command functions,
so that `--help` answers before torch could be loaded."""


def main() -> int:
    """Entry point of the console script `m6rec`; returns the exit code."""
    from m6rec.cli.program import run

    return run()
