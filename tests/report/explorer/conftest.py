"""What several tests of the explorer look at: a small sweep, and the page in one file with it."""

import pytest

from theodolite.lab import Sweep
from theodolite.report.explorer.export import export_page


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep") / "parabolas"
    Sweep("theodolite.lab.example:Parabola", over={"a": [0.0, 1.0, 2.0], "b": [-1.0, 0.0, 1.0, 3.0]}, store=folder, tile=4).run()
    return folder


@pytest.fixture(scope="session")
def exported(store, tmp_path_factory):
    return export_page(tmp_path_factory.mktemp("export") / "deeper" / "explorer.html", store, small=True)
