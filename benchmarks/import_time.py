"""How long a fresh process takes to import kinema, beside torch alone, and to print `kinema --help`."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from record import summary, write_result

COMMANDS = {
    "python": [sys.executable, "-c", "pass"],
    "import torch": [sys.executable, "-c", "import torch"],
    "import kinema": [sys.executable, "-c", "import kinema"],
    "import kinema, every name used": [sys.executable, "-c", "from kinema import *"],
    "kinema --help": [sys.executable, "-m", "kinema", "--help"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--name", default="import_time", help="name of the results file")
    parser.add_argument("--repeats", type=int, default=7, help="rounds, after one to fill the disk's cache")
    arguments = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for repeat in range(-1, arguments.repeats):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            if repeat >= 0:
                seconds[name].append(time.perf_counter() - start)
    numbers = {name: summary(values) for name, values in seconds.items()}
    settings = {"repeats": arguments.repeats}
    path = write_result(arguments.name, kind="import_time", settings=settings, gpu=None, commands=numbers)
    for name, values in numbers.items():
        print(f"{name:32s} {values['min_ms']:7.0f} ms at best, {values['median_ms']:7.0f} ms in the median")
    print(f"written to {path}; `python benchmarks/table.py` puts it into the tables")


if __name__ == "__main__":
    main()
