"""Blobs: whole or not at all, created once, on disk and behind fsspec; a full disk is an error that leaves things as they were."""

import os
import pickle
import threading

import pytest

from theodolite.core.errors import ArgumentError, StoreError
from theodolite.lab.storage import LocalStorage, open_storage


@pytest.fixture(params=["local", "memory"])
def storage(request, tmp_path):
    if request.param == "local":
        yield open_storage(tmp_path / "deep" / "er")
    else:
        storage = open_storage(f"memory://{tmp_path}")
        yield storage
        storage.delete("")


def test_blobs_come_back(storage):
    assert storage.read("a/b") is None
    assert storage.names("a") == []
    assert not storage.exists("a/b")
    storage.write("a/b", b"1", durable=True)
    storage.write("a/b", b"22")
    storage.write("a/c", b"")
    assert storage.read("a/b") == b"22"
    assert storage.read("a/c") == b""
    assert sorted(storage.names("a")) == ["b", "c"]
    assert storage.exists("a/b")
    assert not storage.exists("a")
    storage.delete("a/b")
    storage.delete("a/never")
    assert storage.names("a") == ["c"]
    storage.delete("a")
    assert storage.names("a") == []


def test_a_name_is_created_once(storage):
    assert storage.create("m", b"first")
    assert not storage.create("m", b"second")
    assert storage.read("m") == b"first"


def test_of_many_creators_one_wins(tmp_path):
    storage, wins = LocalStorage(tmp_path), []
    barrier = threading.Barrier(8)

    def attempt(k):
        barrier.wait()
        if storage.create("m", b"%d" % k * 1000):
            wins.append(k)

    threads = [threading.Thread(target=attempt, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1
    assert storage.read("m") == b"%d" % wins[0] * 1000
    assert os.listdir(tmp_path) == ["m"], "drafts are removed"


def test_a_failed_write_leaves_the_old_blob_and_no_draft(tmp_path, monkeypatch):
    storage = LocalStorage(tmp_path)
    storage.write("a", b"old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"No space left.*free space"):
        storage.write("a", b"new", durable=True)
    assert storage.read("a") == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_storages_travel_to_workers(storage):
    storage.write("a", b"1")
    assert pickle.loads(pickle.dumps(storage)).read("a") == b"1"


def test_places(tmp_path):
    import fsspec

    assert open_storage(f"file://{tmp_path}").url == str(tmp_path)
    assert open_storage(open_storage(tmp_path)).url == str(tmp_path)
    assert open_storage(fsspec.get_mapper("memory://here")).url == "memory://here"
    assert not open_storage("memory://here").shared
    assert open_storage(tmp_path).shared
    for wrong in (3, "", "nonsense://x"):
        with pytest.raises(ArgumentError):
            open_storage(wrong)
