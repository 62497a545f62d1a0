"""The browser of a sweep's store."""

from dataclasses import dataclass

import numpy as np
import pytest

from theodolite.core.errors import ArgumentError, StoreError, UnknownNameError
from theodolite.lab import Sweep
from theodolite.report.explorer.endpoints import answer, endpoints
from theodolite.report.explorer.payload import strict_json


@dataclass(frozen=True)
class Wave:
    a: float = 1.0
    kind: str = "sin"
    seed: int = 0

    def run(self):
        if self.a == 3.0 and self.kind == "cos":
            raise ValueError("no cosine at three")
        t = np.linspace(0, 1, 5)
        return {"wave": getattr(np, self.kind)(self.a * t) + self.seed, "top": self.a + 10 * self.seed, "label": self.kind}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep") / "waves"
    over = {"a": [1.0, 2.0, 3.0, 5.0], "kind": ["sin", "cos"], "seed": [0, 1]}
    Sweep(Wave, over=over, store=folder, tile=4).run()
    return folder


@pytest.fixture(scope="module")
def known(store):
    return endpoints(store)


def ask(known, name, **query):
    result = answer(known, name, [(k, str(v)) for k, v in query.items()])
    strict_json(result)
    return result


def test_summary(known):
    s = ask(known, "store/summary")
    assert [(d["name"], d["size"], d["axis"]) for d in s["dims"]][:3] == [("a", 4, True), ("kind", 2, True), ("seed", 2, True)]
    assert s["failed"] == 2
    assert s["cells"] == s["cells_done"] == 16
    assert "no cosine at three" in s["failures"][0]["reason"]
    assert s["failures"][0]["cell"] == {"a": "3", "kind": "cos", "seed": "0"}
    assert {v["name"]: v["numeric"] for v in s["variables"]}["top"]
    assert s["store"] == "waves"


def test_slices_are_those_of_the_dataset(known, store):
    data = Sweep.open(store).load()
    dims = [str(d) for d in data["top"].dims]
    at = ",".join("-1" if d == "seed" else "0" for d in dims)
    found = ask(known, "store/slice", variable="top", x="a", y="kind", at=at)
    expected = data["top"].mean("seed").transpose("kind", "a").values
    np.testing.assert_allclose(found["values"], expected)
    assert found["x"]["positions"].tolist() == [1, 2, 3, 5]
    assert not found["y"]["numeric"]
    state = np.array(found["state"])
    assert state[1, 2] == 2
    assert (np.delete(state.ravel(), 4 + 2) == 1).all()
    line = ask(known, "store/slice", variable="top", x="a", at=at)
    np.testing.assert_allclose(line["values"], data["top"].isel(kind=0).mean("seed").values)


@pytest.mark.parametrize(
    ("values", "logarithmic"),
    [([1e-3, 1e-2, 1e-1], True), ([64, 128, 256, 512], True), ([1, 2, 5, 10, 20], True), ([1, 2, 3, 5], False),
     ([0, 1, 10, 100], False), ([-1, 1, 10, 100], False), ([1, 100], False), ([1, 2, 3, 100], False)],
)  # fmt: skip
def test_a_geometric_axis_is_told(tmp_path, values, logarithmic):
    store = tmp_path / "powers"
    Sweep(Wave, over={"a": [float(v) for v in values], "kind": ["sin", "cos"]}, store=store).run()
    found = ask(endpoints(store), "store/slice", variable="top", x="a", y="kind")
    assert found["x"]["log"] is logarithmic
    assert found["y"]["log"] is False


def test_the_code_gives_what_is_shown(known, store, capsys):
    data = Sweep.open(store).load()
    at = ",".join("1" if d == "seed" else "0" for d in data["top"].dims)
    found = ask(known, "store/slice", variable="top", x="kind", y="a", at=at)
    names = {}
    exec(found["python"].replace("path/to/waves", str(store)), names)
    np.testing.assert_allclose(names["shown"].values, found["values"])


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"variable": "toop"}, UnknownNameError),
        ({"variable": "label"}, ArgumentError),
        ({"variable": "top", "x": "b"}, UnknownNameError),
        ({"variable": "top", "x": "a", "y": "a"}, ArgumentError),
        ({"variable": "top", "x": "a", "at": "0,0"}, ArgumentError),
        ({"variable": "top", "x": "a", "at": "0,7,0"}, ArgumentError),
        ({"variable": "../../etc/passwd"}, UnknownNameError),
        ({"variable": "x" * 300}, ArgumentError),
    ],
)
def test_wrong_questions(known, query, error):
    with pytest.raises(error):
        ask(known, "store/slice", **query)


def test_no_store_no_questions(tmp_path):
    assert "store/summary" not in endpoints()
    with pytest.raises(StoreError):
        endpoints(tmp_path / "nothing")
