"""Budgets of the house, read off the source: sizes, forbidden names, global randomness."""

import ast
import pathlib

import theodolite

ROOT = pathlib.Path(theodolite.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}


def test_no_file_is_named_after_nothing():
    assert not [path for path in SOURCES if path.stem in ("utils", "util", "helpers", "misc", "common")]


def test_no_global_seeding():
    guilty = []
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.random.seed", "numpy.random.seed", "random.seed"):
                guilty.append(f"{path.name}:{node.lineno}")
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "torch.set_default_dtype",
                "torch.use_deterministic_algorithms",
            ):
                guilty.append(f"{path.name}:{node.lineno}")
    assert not guilty


def test_torch_is_seeded_only_inside_a_forked_generator():
    guilty = []
    for path, tree in TREES.items():
        forked = [n for n in ast.walk(tree) if isinstance(n, ast.With) and "fork_rng" in "".join(ast.unparse(i) for i in n.items)]
        inside = {id(child) for block in forked for child in ast.walk(block)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.manual_seed" and id(node) not in inside:
                guilty.append(f"{path.name}:{node.lineno}")
    assert not guilty


def test_nothing_is_unfinished():
    words = ("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")
    guilty = [f"{p.name}: {w}" for p in SOURCES for w in words if f"{w}" in p.read_text(encoding="utf-8").split()]
    assert not guilty


def test_every_topic_has_its_page():
    for topic in (ROOT / "theory").iterdir():
        if (topic / "__init__.py").is_file():
            assert (topic / "README.md").is_file(), f"{topic.name} has no README.md"
