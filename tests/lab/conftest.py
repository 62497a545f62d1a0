"""Makes `lab_cells` importable here and, because spawned processes inherit the path, in workers."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
