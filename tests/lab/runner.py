"""Run as a process of its own: ``python runner.py store log workers seconds`` sweeps `lab_cells.Logged`."""

import sys
from pathlib import Path


def sweep(store, log, seconds):
    import lab_cells

    import theodolite as td

    return td.Sweep(lab_cells.Logged, {"a": [1.0, 2.0], "b": range(20)}, store, tile=2, log=str(log), seconds=float(seconds))


def main():
    store, log, workers, seconds = sys.argv[1:]
    sys.path.insert(0, str(Path(__file__).parent))
    sweep(store, log, seconds).run(workers=int(workers))


if __name__ == "__main__":
    main()
