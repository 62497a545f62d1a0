"""Nothing is lost, torn or computed for nothing: killed workers, a killed parent, two runs at once, Ctrl-C, a full disk."""

import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import fsspec
import lab_cells
import numpy as np
import pytest
import runner
from fsspec.implementations.memory import MemoryFileSystem

import theodolite as td
from theodolite.core.errors import StoreError

OVER = {"a": [1.0, 2.0, 3.0], "b": range(100)}


def expected(name, over=OVER):
    return np.array([[lab_cells.Product(a, b).run()[name] for b in over["b"]] for a in over["a"]])


def assert_whole(sweep, over=OVER):
    """Every cell there, none torn, each in its place."""
    status = sweep.status()
    assert status.complete
    assert status.failed == 0, sweep.failed()
    data = sweep.load()
    for name in ("product", "draws", "count", "odd"):
        np.testing.assert_array_equal(data[name].values, expected(name, over))
    assert sweep.repair() == []


class Murderer(threading.Thread):
    """Kills a random worker with SIGKILL at random times. Workers are known by the files that cells leave in ``pids``."""

    def __init__(self, pids, seed, most):
        super().__init__(daemon=True)
        self.pids, self.random, self.over = Path(pids), random.Random(seed), threading.Event()
        self.kills, self.most = 0, most

    def run(self):
        while self.kills < self.most and not self.over.wait(self.random.uniform(0.1, 0.5)):
            known = [p for p in self.pids.iterdir() if int(p.name) != os.getpid()]
            if known:
                victim = self.random.choice(known)
                victim.unlink()
                try:
                    os.kill(int(victim.name), signal.SIGKILL)
                except ProcessLookupError:
                    continue
                self.kills += 1


def survived(tmp_path, kills, **how):
    """How many workers were killed while sweeping again and again into fresh stores, each found whole: ``kills`` or somewhat fewer."""
    total = 0
    for attempt in range(10):
        pids = tmp_path / f"pids{attempt}"
        pids.mkdir()
        sweep = td.Sweep(lab_cells.Slow, OVER, tmp_path / f"s{attempt}", tile=10, pids=str(pids), seconds=0.01)
        murderer = Murderer(pids, seed=attempt, most=kills - total)
        murderer.start()
        try:
            sweep.run(workers=2, **how)
        finally:
            murderer.over.set()
            murderer.join()
        assert_whole(sweep)
        total += murderer.kills
        if total >= kills:
            break
    return total


@pytest.mark.slow
def test_killing_spawned_workers_at_random_times(tmp_path):
    assert survived(tmp_path, kills=20) >= 20


@pytest.mark.slow
def test_killing_dask_workers_at_random_times(tmp_path):
    pytest.importorskip("distributed")
    assert survived(tmp_path, kills=20, engine="dask") >= 20


@pytest.mark.slow
def test_a_poison_cell_costs_itself(tmp_path):
    sweep = td.Sweep(lab_cells.Poison, {"b": range(8)}, tmp_path / "s", tile=4, a=1.0)
    status = sweep.run(workers=2)
    assert status.complete
    assert status.failed == 2
    (poison, why), (raised, _) = sweep.failed()
    assert poison == {"b": 3}
    assert "SIGKILL" in why
    assert raised == {"b": 4}
    state = sweep.load()["cell_state"].values
    assert state.tolist() == [1, 1, 1, 2, 2, 1, 1, 1]
    # Another run has nothing to do, and does not die either.
    assert sweep.run() == status


def start(store, log, workers, seconds):
    return subprocess.Popen(
        [sys.executable, runner.__file__, str(store), str(log), str(workers), str(seconds)],
        cwd=Path(runner.__file__).parent,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


LOGGED = {"a": [1.0, 2.0], "b": range(20)}


@pytest.mark.slow
def test_resuming_after_the_parent_was_killed(tmp_path):
    store, log = tmp_path / "s", tmp_path / "log"
    sweep = runner.sweep(store, log, 0.05)
    parent = start(store, log, 2, 0.05)
    wait_for(lambda: sweep.status().done >= 3)
    parent.kill()
    parent.wait()
    parent.stderr.close()
    wait_for(lambda: time.time() - log.stat().st_mtime > 1.5)
    workers = {int(line.split()[0]) for line in log.read_text().splitlines()}
    assert not any(alive(pid) for pid in workers), "workers end after their tile when their parent is gone"
    done = sweep.status().done
    assert 3 <= done < 20
    before = log.read_text().splitlines()
    sweep.run()
    assert_whole(sweep, LOGGED)
    ran_again = len(log.read_text().splitlines()) - len(before)
    assert ran_again == (20 - done) * 2, "committed tiles are not computed again"


@pytest.mark.slow
def test_two_runs_on_one_store_at_once(tmp_path):
    store, log = tmp_path / "s", tmp_path / "log"
    runs = [start(store, log, 1, 0.05)]
    # The second begins when half is done: in lockstep from the start, how much they share would be a matter of luck.
    wait_for(lambda: runner.sweep(store, log, 0.05).status().done >= 10)
    runs.append(start(store, log, 1, 0.05))
    for run in runs:
        _, error = run.communicate(timeout=60)
        assert run.returncode == 0, error
    assert_whole(runner.sweep(store, log, 0.05), LOGGED)
    times = Counter(tuple(line.split()[1:]) for line in log.read_text().splitlines())
    assert len(times) == 40
    assert sum(times.values()) < 70, "two runs share the work"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_finishes_what_is_in_flight(tmp_path, workers):
    store, log = tmp_path / "s", tmp_path / "log"
    sweep = runner.sweep(store, log, 0.1)
    parent = start(store, log, workers, 0.1)
    wait_for(lambda: sweep.status().done >= 2)
    parent.send_signal(signal.SIGINT)
    _, error = parent.communicate(timeout=30)
    assert parent.returncode != 0
    assert "run again to resume" in error
    done, ran = sweep.status().done, len(log.read_text().splitlines())
    # Besides whole tiles only five cells of the calibration were run, and one again per worker, to warm it up.
    assert done < 20
    assert 2 * done <= ran <= 2 * done + 7
    sweep.run(workers=2)
    assert_whole(sweep, LOGGED)


class FullFileSystem(MemoryFileSystem):
    """An object store with a quota."""

    protocol = "fullmemory"
    store: dict = {}
    pseudo_dirs = [""]
    left = 10**9

    def pipe_file(self, path, value, **kwargs):
        if len(value) > FullFileSystem.left:
            raise OSError(errno.ENOSPC, "No space left on device")
        FullFileSystem.left -= len(value)
        super().pipe_file(path, value, **kwargs)


def test_a_full_object_store_is_a_clear_error_and_stays_readable():
    fsspec.register_implementation("fullmemory", FullFileSystem, clobber=True)
    over = {"a": [1.0, 2.0], "b": range(50)}

    def fresh(quota):
        FullFileSystem.store.clear()
        FullFileSystem.left = quota
        return td.Sweep(lab_cells.Product, over, "fullmemory://sweep", tile=5)

    fresh(10**9).run()
    needed = 10**9 - FullFileSystem.left
    committed = []
    for share in np.linspace(0.01, 0.99, 15):
        sweep = fresh(int(share * needed))
        with pytest.raises(StoreError, match=r"No space left.*free space"):
            sweep.run()
        committed.append(sweep.status().done)
        if sweep._manifest():
            data = sweep.load()
            mask = data["cell_state"].values == 1
            assert mask.sum() == 5 * committed[-1]
            np.testing.assert_array_equal(data["product"].values, np.where(mask, expected("product", over), np.nan))
        FullFileSystem.left = 10**9
        sweep.run()
        assert_whole(sweep, over)
    assert committed[0] == 0
    assert committed == sorted(committed)
    assert 10 < committed[-1] < 20


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")
def test_a_full_disk_is_a_clear_error_and_the_store_stays_readable(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        over = {"a": [1.0, 2.0], "b": range(200)}
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(120_000))
        sweep = td.Sweep(lab_cells.Product, over, disk / "s", tile=5)
        with pytest.raises(StoreError, match="No space left"):
            sweep.run(workers=2)
        status = sweep.status()
        assert 0 < status.done < status.tiles
        assert not np.isnan(sweep.load()["product"].values[sweep.load()["cell_state"].values == 1]).any()
        ballast.unlink()
        sweep = td.Sweep(lab_cells.Product, {"a": [1.0], "b": range(20)}, disk / "t", tile=5)
        sweep.run()
        assert_whole(sweep, {"a": [1.0], "b": range(20)})
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
