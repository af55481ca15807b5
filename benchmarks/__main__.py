"""Runs the benchmarks that are named, or all of them, each in a process of its own."""

import subprocess
import sys

NAMES = ("inference", "finetune", "pipeline", "load_memory")


def main() -> int:
    """Runs the benchmarks; returns 1 when one failed to run."""
    chosen = sys.argv[1:] or NAMES
    unknown = [name for name in chosen if name not in NAMES]
    if unknown:
        print(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    failed = 0
    for name in chosen:
        print(f"\n== {name}", flush=True)
        failed |= subprocess.run([sys.executable, "-m", f"benchmarks.{name}"]).returncode
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
