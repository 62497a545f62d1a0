"""Named blobs of bytes in a folder or under any fsspec URL: each is there whole or not at all.

Everything a sweep writes goes through here, zarr metadata and chunks included, so that there is one place where atomicity,
durability and a full disk are dealt with. Keys are relative paths with ``/``; a name ending in ``.partial`` is never a blob.
"""

from __future__ import annotations

import os
import shutil
import uuid
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any

from theodolite.core.errors import ArgumentError, MissingExtraError, StoreError

__all__ = ["LocalStorage", "RemoteStorage", "Storage", "open_storage"]


class Storage(ABC):
    """Blobs by key. Instances are small and picklable: workers get their own copy.

    Attributes:
        url: where it is, as people write it.
    """

    url: str

    @abstractmethod
    def read(self, key: str) -> bytes | None:
        """The blob at ``key``, or None."""

    @abstractmethod
    def write(self, key: str, data: bytes, *, durable: bool = False) -> None:
        """Put ``data`` at ``key``, atomically; ``durable`` also forces it to the disk (fsync of file and folder).

        Raises:
            StoreError: it could not be written (disk full, no permission, network); what was there before is untouched.
        """

    @abstractmethod
    def create(self, key: str, data: bytes) -> bool:
        """Put ``data`` at ``key`` unless something is there; whether it was put. Durable. Of several writers one wins.

        Raises:
            StoreError: it could not be written.
        """

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """Names of what lies directly in ``folder`` ("" is the root), in no order; empty when there is no such folder."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove the blob or the folder at ``key``, if it is there."""

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Whether there is a blob at ``key``."""

    @property
    def shared(self) -> bool:
        """Whether other processes see what this one writes."""
        return True

    def _refused(self, key: str, error: Exception) -> StoreError:
        return StoreError(
            f"{key!r} could not be written to {self.url}: {error}; "
            "free space or permissions there, then run again: what was committed stays and is not computed twice"
        )


class LocalStorage(Storage):
    """Blobs as files of a folder.

    Example:
        >>> import tempfile
        >>> storage = LocalStorage(tempfile.mkdtemp())
        >>> storage.write("a/b", b"1"), storage.read("a/b"), storage.create("a/b", b"2"), storage.names("a")
        (None, b'1', False, ['b'])
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser().absolute()
        self.url = str(self.root)

    def read(self, key: str) -> bytes | None:
        """The file's bytes, or None."""
        try:
            return (self.root / key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, key: str, data: bytes, *, durable: bool = False) -> None:
        """Write a draft beside the file, then rename it over."""
        path = self.root / key
        draft = self._draft(path)
        try:
            self._fill(draft, data, durable)
            os.replace(draft, path)
            if durable:
                _fsync_folder(path.parent)
        except OSError as error:
            raise self._refused(key, error) from error
        finally:
            # After a successful rename there is nothing left to remove.
            with suppress(OSError):
                os.unlink(draft)

    def create(self, key: str, data: bytes) -> bool:
        """Write a draft, then link it to the name, which fails when the name is taken."""
        path = self.root / key
        draft = self._draft(path)
        try:
            self._fill(draft, data, durable=True)
            # A hard link fails when the name is taken, where a rename would overwrite it.
            os.link(draft, path)
            _fsync_folder(path.parent)
            return True
        except FileExistsError:
            return False
        except OSError as error:
            raise self._refused(key, error) from error
        finally:
            with suppress(OSError):
                os.unlink(draft)

    def names(self, folder: str) -> list[str]:
        """Names in the folder, drafts left out."""
        try:
            with os.scandir(self.root / folder) as entries:
                return [entry.name for entry in entries if not entry.name.endswith(".partial")]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def delete(self, key: str) -> None:
        """Remove the file or the folder."""
        path = self.root / key
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def exists(self, key: str) -> bool:
        """Whether the file is there."""
        return (self.root / key).is_file()

    @staticmethod
    def _draft(path: Path) -> Path:
        return path.with_name(f".{path.name[:80]}.{uuid.uuid4().hex}.partial")

    @staticmethod
    def _fill(draft: Path, data: bytes, durable: bool) -> None:
        try:
            file = open(draft, "xb")  # noqa: SIM115 (closed below; the retry needs the exception of the opening alone)
        except FileNotFoundError:
            draft.parent.mkdir(parents=True, exist_ok=True)
            file = open(draft, "xb")  # noqa: SIM115
        with file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())


def _fsync_folder(folder: Path) -> None:
    # A rename survives a power cut only once its folder is on the disk. Not every system opens folders; then nothing more can be done.
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class RemoteStorage(Storage):
    """Blobs in an fsspec filesystem, where a put is atomic, as object stores have it.

    Example:
        >>> storage = open_storage("memory://theodolite-doctest")
        >>> storage.write("a/b", b"1"), storage.read("a/b"), storage.create("a/b", b"2"), storage.names("a")
        (None, b'1', False, ['b'])
        >>> storage.delete("a")
    """

    def __init__(self, filesystem: Any, root: str) -> None:
        self.filesystem = filesystem
        self.root = root.rstrip("/")
        protocol = filesystem.protocol
        self.url = f"{protocol if isinstance(protocol, str) else protocol[0]}://{self.root.lstrip('/')}"

    def read(self, key: str) -> bytes | None:
        """The object, or None."""
        try:
            data: bytes = self.filesystem.cat_file(f"{self.root}/{key}")
            return data
        except FileNotFoundError:
            return None

    def write(self, key: str, data: bytes, *, durable: bool = False) -> None:
        """Put the object."""
        try:
            self.filesystem.pipe_file(f"{self.root}/{key}", data)
        except Exception as error:
            raise self._refused(key, error) from error

    def create(self, key: str, data: bytes) -> bool:
        """Put the object unless there is one, by a conditional put where the filesystem has it."""
        if self.exists(key):
            return False
        try:
            self.filesystem.pipe_file(f"{self.root}/{key}", data, mode="create")
        except FileExistsError:
            return False
        except (TypeError, NotImplementedError):
            # Filesystems older than conditional puts: the look above is all the protection there is.
            self.write(key, data)
        except Exception as error:
            raise self._refused(key, error) from error
        return True

    def names(self, folder: str) -> list[str]:
        """Names under the prefix, from a fresh listing."""
        path = f"{self.root}/{folder}".rstrip("/")
        self.filesystem.invalidate_cache()
        try:
            found = self.filesystem.ls(path, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [name for name in (entry.rstrip("/").rpartition("/")[2] for entry in found) if not name.endswith(".partial")]

    def delete(self, key: str) -> None:
        """Remove the object or all objects under it."""
        with suppress(FileNotFoundError):
            self.filesystem.rm(f"{self.root}/{key}", recursive=True)

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        return bool(self.filesystem.isfile(f"{self.root}/{key}"))

    @property
    def shared(self) -> bool:
        """False for ``memory://``, which lives in this process."""
        return not self.url.startswith("memory://")


def open_storage(place: Any) -> Storage:
    """The storage at ``place``: a local path, an fsspec URL such as ``s3://bucket/runs``, an fsspec mapper or a `Storage`.

    Raises:
        ArgumentError: ``place`` is none of these.
        MissingExtraError: the URL needs a package that is not installed.

    Example:
        >>> open_storage("runs/phase").url.endswith("runs/phase"), open_storage("memory://x").url
        (True, 'memory://x')
    """
    if isinstance(place, Storage):
        return place
    if isinstance(place, Path) or (isinstance(place, str) and "://" not in place):
        if not str(place):
            raise ArgumentError("store must be a folder or a URL, got an empty string")
        return LocalStorage(place)
    if isinstance(place, str):
        if place.startswith("file://"):
            return LocalStorage(place.removeprefix("file://"))
        return _open_url(place)
    if hasattr(place, "fs") and hasattr(place, "root"):
        return RemoteStorage(place.fs, str(place.root))
    raise ArgumentError(f"store must be a path, an fsspec URL or an fsspec mapper, got {type(place).__name__}")


def _open_url(url: str) -> Storage:
    import fsspec

    try:
        filesystem, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise MissingExtraError(f"store {url!r} needs a package that is not installed: {error}") from error
    except ValueError as error:
        raise ArgumentError(f"store {url!r} is no URL that fsspec knows: {error}") from error
    return RemoteStorage(filesystem, root)
