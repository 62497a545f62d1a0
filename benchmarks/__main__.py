"""``python -m benchmarks [NAME …] [--quick]`` (also ``make bench`` and ``theodolite bench NAME``)."""

import sys

from benchmarks.run import main

sys.exit(main(sys.argv[1:]))
