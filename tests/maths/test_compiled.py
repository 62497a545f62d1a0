"""Machine code on disk belongs to all the source it was made of."""

import sys
from pathlib import Path

from theodolite.maths import compiled
from theodolite.maths.polygons import subdivide_polygons
from theodolite.theory.piecewise import chains


def test_a_change_in_a_file_that_is_called_counts(monkeypatch, tmp_path):
    stamp = compiled._digest.__wrapped__(chains.__name__)
    assert chains.carry._cache._cache_file._source_stamp == stamp
    # what chains.py calls in polygons.py calls cutters.py in turn; errors.py holds a constant of chainerrors.py
    for name in ("theodolite.maths.cutters", "theodolite.theory.piecewise.errors", chains.__name__):
        copy = tmp_path / f"{name}.py"
        copy.write_text(Path(sys.modules[name].__file__).read_text() + "\n# changed\n")
        with monkeypatch.context() as changed:
            changed.setattr(sys.modules[name], "__file__", str(copy))
            compiled._digest.cache_clear()
            assert compiled._digest(chains.__name__) != stamp, name
    compiled._digest.cache_clear()
    assert compiled._digest(chains.__name__) == stamp


def test_functions_of_one_file_share_a_stamp():
    assert subdivide_polygons._cache._cache_file._source_stamp == compiled._digest("theodolite.maths.polygons")


def test_long_compilations_say_so_once_and_on_terminals_only(monkeypatch, capsys):
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(compiled.time, "monotonic", lambda: next(clock))

    def nested(depth):
        return compiled._announced(lambda: nested(depth - 1)() if depth else None)

    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    nested(2)()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    nested(0)()
    assert capsys.readouterr().err == ""
    nested(2)()
    nested(2)()
    assert capsys.readouterr().err.count("compiles its loops") == 1
    assert compiled._now["since"] is None
    compiled._now["said"] = False
