"""Importing is cheap and changes nothing: checked by module names and state, in fresh processes."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "numpy", "scipy", "numba", "matplotlib", "xarray", "sklearn", "pandas", "tyro", "rich")


def fresh(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "code", ["import theodolite", "from theodolite.__main__ import main; main(['--help'])", "import theodolite; dir(theodolite)"]
)
def test_nothing_heavy_is_imported(code):
    loaded = fresh(f"{code}\nimport sys; print('MODULES', *sys.modules)").split("MODULES")[1].split()
    assert not [name for name in HEAVY if name in loaded]


def test_help_of_a_command_does_not_import_torch():
    code = "import sys; from theodolite.__main__ import main\ntry: main(['diagnose', '--help'])\nexcept SystemExit: pass\nprint('torch' in sys.modules)"
    assert fresh(code).splitlines()[-1] == "False"


def test_importing_everything_changes_nothing_global():
    code = """
import pkgutil, importlib, sys, warnings
import numpy, torch, matplotlib
before = (torch.random.get_rng_state().tolist(), torch.get_default_dtype(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(),
          numpy.random.get_state()[1].tolist(), dict(matplotlib.rcParams), list(warnings.filters), numpy.geterr())
import theodolite
for module in pkgutil.walk_packages(theodolite.__path__, 'theodolite.'):
    if '.adapters' not in module.name and not module.name.endswith('__main__'):
        importlib.import_module(module.name)
after = (torch.random.get_rng_state().tolist(), torch.get_default_dtype(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(),
         numpy.random.get_state()[1].tolist(), dict(matplotlib.rcParams), list(warnings.filters), numpy.geterr())
names = ['rng', 'dtype', 'threads', 'determinism', 'numpy rng', 'rcParams', 'filters', 'errstate']
print([n for n, a, b in zip(names, before, after) if a != b and n != 'filters'])
"""
    assert fresh(code).strip() == "[]"


def test_the_whole_face_resolves():
    code = "import theodolite\nfor name in theodolite.__all__: getattr(theodolite, name)\nprint('ok')"
    assert fresh(code).strip() == "ok"
