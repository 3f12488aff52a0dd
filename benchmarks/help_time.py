"""How fast `--help` answers: wall time of the root and of every command, each in a process of its own.

    python benchmarks/help_time.py [--repeats 7] [--limit 0.35]

Prints the median and the best of the repeats in seconds; exit 1 where a median is over the limit.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

from m6rec.cli.program import COMMANDS


def seconds(words: list[str]) -> float:
    """Wall time of one `m6rec ... --help`, interpreter start included."""
    command = [sys.executable, "-c", "import sys; from m6rec.cli import main; sys.exit(main())", *words, "--help"]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--limit", type=float, default=0.35)
    arguments = parser.parse_args()
    slow = 0
    print(f"{'command':<24}  median    best")
    for words in [[], *[[name] for name in COMMANDS]]:
        times = [seconds(words) for _ in range(arguments.repeats)]
        median = statistics.median(times)
        slow += median > arguments.limit
        verdict = "  over the limit" if median > arguments.limit else ""
        print(f"{' '.join(['m6rec', *words]):<24}  {median:6.3f}  {min(times):6.3f}{verdict}")
    return int(slow > 0)


if __name__ == "__main__":
    sys.exit(main())
