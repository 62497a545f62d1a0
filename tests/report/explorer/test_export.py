"""The page in one file."""

import base64
import json
import re

import pytest

from theodolite.core.errors import StoreError
from theodolite.report.explorer.export import export_page
from theodolite.report.explorer.pages import MODULES


@pytest.fixture(scope="module")
def page(exported):
    return exported.read_text(encoding="utf-8")


def test_everything_is_inside(page):
    assert "/static/" not in page
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", page)
    imports = json.loads(re.search(r'<script type="importmap">(.*?)</script>', page, re.S)[1])["imports"]
    assert list(imports) == list(MODULES)
    for address in imports.values():
        text = base64.b64decode(address.partition(",")[2]).decode()
        assert 'from "./' not in text
        for name in re.findall(r'from "([^"]+)"', text):
            assert name in imports


def test_answers_of_every_view(page):
    data = json.loads(re.search(r'<script type="application/json" id="precomputed">(.*?)</script>', page, re.S)[1])
    names = {
        "phase/plane",
        "phase/correlations",
        "phase/point",
        "condensation/plane",
        "condensation/point",
        "staircase/run",
        "regions/network",
        "descent/curve",
        "store/summary",
        "store/slice",
    }
    assert set(data["endpoints"]) == set(data["grids"]) == names
    for entries in data["grids"].values():
        assert all("refused" not in entry["data"] for entry in entries)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        export_page(tmp_path / "file" / "page.html", small=True)
