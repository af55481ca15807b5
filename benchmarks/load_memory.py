"""Peak memory and speed of `load_dataset` over generated files of 0.1, 1 and 5 million rows.

    python benchmarks/load_memory.py [--rows 100000 1000000 5000000]

Each size is read in a process of its own. Peak memory must not grow with the file.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MEASURE = """
import resource, sys, time
from pathlib import Path
from hfpc.data.load_dataset import LoadDatasetConfig, load_dataset

started = time.perf_counter()
record = load_dataset(LoadDatasetConfig(source=sys.argv[1]), Path(sys.argv[2]))
seconds = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(seconds, peak, sum(record.rows.values()))
"""


def generate(path: Path, rows: int, seed: int = 0) -> None:
    """Writes a CSV of short texts: three labels, about 2 % duplicates, a thousandth of the lines broken."""
    rng = random.Random(seed)
    words = [f"{start}{end}" for start in "ba ce di fo gu ha je ki lo mu".split() for end in "r s t nd lk mp".split()]
    labels = ["negative", "neutral", "positive"]
    with path.open("w", encoding="utf-8") as file:
        file.write("text,label,number\n")
        for number in range(rows):
            unique = number if rng.random() > 0.02 else rng.randrange(number + 1)
            text = f"{' '.join(rng.choices(words, k=10))} {unique}" if unique == number else f"again {unique % 1000}"
            end = "" if rng.random() > 0.001 else ",one too many"
            file.write(f"{text},{labels[unique % 3]},{number}{end}\n")


def measure(rows: int, folder: Path) -> tuple[float, float, int, float]:
    """Seconds, peak MB, rows written and MB of the file, for a generated file of `rows` rows."""
    source = folder / f"{rows}.csv"
    generate(source, rows)
    command = [sys.executable, "-c", MEASURE, str(source), str(folder / f"{rows}")]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    seconds, peak, written = output.split()
    return float(seconds), float(peak), int(written), source.stat().st_size / 1e6


def main() -> None:
    """Prints one line for each size, and how much the peak grew from the smallest to the largest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000, 5_000_000])
    sizes = parser.parse_args().rows
    print(f"{'rows':>10} {'file MB':>9} {'peak MB':>9} {'seconds':>9} {'rows/s':>9} {'written':>10}")
    peaks = []
    with tempfile.TemporaryDirectory(prefix="hfpc-bench-") as name:
        for rows in sizes:
            seconds, peak, written, size = measure(rows, Path(name))
            peaks.append(peak)
            print(f"{rows:>10} {size:>9.0f} {peak:>9.0f} {seconds:>9.1f} {rows / seconds:>9.0f} {written:>10}")
    print(f"peak memory grew {peaks[-1] / peaks[0]:.2f} x while the file grew {sizes[-1] / sizes[0]:.0f} x")


if __name__ == "__main__":
    started = time.perf_counter()
    main()
    print(f"took {time.perf_counter() - started:.0f} s")
