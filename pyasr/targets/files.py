"""Where the files of a store lie: a local folder, or a folder of any file system that fsspec knows.

Files are written once and appear whole. Locally: under a temporary name that the writer holds locked, flushed to the
disk, renamed. Elsewhere: into a local temporary file, then sent in one piece, which object storage makes visible when
it is complete.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import io
import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import fsspec

from pyasr.base.artifact import TEMPORARY, atomic_path
from pyasr.base.errors import DataError

_OPEN_FILES = 16
_COPY_BYTES = 1 << 24


def open_folder(location: str | Path) -> LocalFolder | RemoteFolder:
    """location: a path, or an fsspec URL such as s3://bucket/folder. DataError for a protocol without its package."""
    text = str(location)
    if isinstance(location, Path) or "://" not in text:
        return LocalFolder(Path(location))
    if text.startswith(("file://", "local://")):
        return LocalFolder(Path(text.split("://", 1)[1]))
    try:
        return RemoteFolder(text)
    except (ImportError, ValueError) as error:
        raise DataError(f"{text}: cannot be reached: {error}") from error


class LocalFolder:
    """A folder on this machine or a network file system. name: a file in it."""

    def __init__(self, path: Path) -> None:
        self.location = path
        self._open = functools.lru_cache(_OPEN_FILES)(self._open_file)

    def child(self, name: str) -> LocalFolder:
        return LocalFolder(self.location / name)

    def make(self) -> None:
        try:
            self.location.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"cannot write {self.location}: {error.strerror}; choose another folder") from error

    def exists(self, name: str = "") -> bool:
        return (self.location / name).exists()

    def names(self) -> list[str]:
        with _reading(self.location, "listed"):
            return os.listdir(self.location)

    def size(self, name: str) -> int:
        with _reading(self.location / name):
            return os.stat(self.location / name).st_size

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Fewer bytes than `size` only where the file ends."""
        with _reading(self.location / name):
            file = self._open(name)  # held here: another thread may push it out of the cache, which closes it
            data = os.pread(file.fileno(), size, offset)
            while len(data) < size and (more := os.pread(file.fileno(), size - len(data), offset + len(data))):
                data += more  # a read of more than 2 GiB, or one that a signal ended
            return data

    def write_bytes(self, name: str, data: bytes) -> None:
        with atomic_path(self.location / name) as temporary:
            temporary.write_bytes(data)

    def create(self) -> LocalFile:
        with _writing(self.location):
            return LocalFile(self.location)

    def copy(self, source: LocalFolder | RemoteFolder, name: str) -> None:
        """Take over a file: by a hard link where that is possible."""
        if isinstance(source, LocalFolder):
            with contextlib.suppress(OSError):
                os.link(source.location / name, self.location / name)
                return
        _copy(source, self, name)

    def remove(self, name: str) -> None:
        with _writing(self.location):
            os.unlink(self.location / name)

    def remove_dead_temporaries(self) -> int:
        """Remove what killed writers left, and nothing of those at work; return how many files went."""
        removed = 0
        for path in self.location.glob(f"{TEMPORARY}*"):
            with contextlib.suppress(FileNotFoundError, BlockingIOError), open(path, "r+b") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
                removed += 1
        return removed

    def forget(self) -> None:
        """Close what reading opened: files may have gone."""
        self._open.cache_clear()

    def _open_file(self, name: str) -> io.FileIO:
        return open(self.location / name, "rb", buffering=0)


class LocalFile:
    """A new file, locked for as long as it is open; without a buffer, which a forked process would write again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        while True:
            self._path = folder / f"{TEMPORARY}{uuid.uuid4().hex}"
            self._stream = open(self._path, "xb", buffering=0)  # noqa: SIM115  open until sealed or discarded
            fcntl.flock(self._stream, fcntl.LOCK_EX)
            if os.fstat(self._stream.fileno()).st_nlink:
                return
            self._stream.close()  # somebody took it for a dead writer's before the lock was on it

    def write(self, data: bytes) -> None:
        with _writing(self._folder):
            left = memoryview(data)
            while len(left):
                left = left[self._stream.write(left) :]

    def seal(self, name: str) -> None:
        """Flush to the disk, and give it its name."""
        with _writing(self._folder):
            os.fsync(self._stream.fileno())
            os.replace(self._path, self._folder / name)
            descriptor = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        self._stream.close()

    def discard(self) -> None:
        self._path.unlink(missing_ok=True)
        self._stream.close()


class RemoteFolder:
    """A folder of an fsspec file system; the methods of `LocalFolder`. location: its URL."""

    def __init__(self, location: str) -> None:
        self.location = location.rstrip("/")
        self._path = fsspec.core.url_to_fs(self.location)[1].rstrip("/")

    @property
    def _fs(self) -> Any:
        # Asked anew each time, for fsspec keeps one a process: that of the parent is no use after a fork.
        return fsspec.core.url_to_fs(self.location)[0]

    def child(self, name: str) -> RemoteFolder:
        return RemoteFolder(f"{self.location}/{name}")

    def make(self) -> None:
        with self._asking("made"):
            self._fs.makedirs(self._path, exist_ok=True)

    def exists(self, name: str = "") -> bool:
        with self._asking("read", name):
            return self._fs.exists(f"{self._path}/{name}".rstrip("/"))

    def names(self) -> list[str]:
        with self._asking("listed"):
            self._fs.invalidate_cache(self._path)
            try:
                found = self._fs.ls(self._path, detail=False)
            except FileNotFoundError:
                return []  # object storage has no empty folders
            return [path.rstrip("/").rsplit("/", 1)[-1] for path in found]

    def size(self, name: str) -> int:
        with self._asking("read", name):
            return self._fs.size(f"{self._path}/{name}")

    def read(self, name: str, offset: int, size: int) -> bytes:
        with self._asking("read", name):
            try:  # by name: the order of s3fs is another
                return self._fs.cat_file(f"{self._path}/{name}", start=offset, end=offset + size) if size else b""
            except OSError as error:
                if error.errno == errno.EINVAL and offset >= self._fs.size(f"{self._path}/{name}"):
                    return b""  # HTTP has no empty ranges
                raise

    def write_bytes(self, name: str, data: bytes) -> None:
        with self._asking("written", name):
            self._fs.pipe_file(f"{self._path}/{name}", data)

    def create(self) -> RemoteFile:
        with _writing(tempfile.gettempdir()):
            return RemoteFile(self)

    def copy(self, source: LocalFolder | RemoteFolder, name: str) -> None:
        if isinstance(source, RemoteFolder) and source._fs is self._fs:
            with self._asking("written", name):
                self._fs.cp_file(f"{source._path}/{name}", f"{self._path}/{name}")
        else:
            _copy(source, self, name)

    def send(self, local: str, name: str) -> None:
        with self._asking("written", name):
            self._fs.put_file(local, f"{self._path}/{name}")

    def remove(self, name: str) -> None:
        with self._asking("removed", name):
            self._fs.rm_file(f"{self._path}/{name}")

    def remove_dead_temporaries(self) -> int:
        return 0

    def forget(self) -> None:
        pass

    @contextlib.contextmanager
    def _asking(self, how: str, name: str = "") -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of any kind: those of botocore, say, are no OSErrors
            raise DataError(
                f"{self.location}/{name}".rstrip("/") + f": cannot be {how} ({type(error).__name__}: {error});"
                " check address, connection and credentials, and go on: what is sealed is kept"
            ) from error


class RemoteFile:
    """A new file: local until it is sealed."""

    def __init__(self, folder: RemoteFolder) -> None:
        self._folder = folder
        self._stream: BinaryIO = tempfile.NamedTemporaryFile(prefix=TEMPORARY)  # noqa: SIM115  as LocalFile

    def write(self, data: bytes) -> None:
        with _writing(tempfile.gettempdir()):
            self._stream.write(data)

    def seal(self, name: str) -> None:
        with _writing(tempfile.gettempdir()):
            self._stream.flush()
        self._folder.send(self._stream.name, name)
        self._stream.close()

    def discard(self) -> None:
        self._stream.close()


def _copy(source: LocalFolder | RemoteFolder, target: LocalFolder | RemoteFolder, name: str) -> None:
    file, size = target.create(), source.size(name)
    try:
        for offset in range(0, size, _COPY_BYTES):
            file.write(source.read(name, offset, min(_COPY_BYTES, size - offset)))
        file.seal(name)
    except BaseException:
        file.discard()
        raise


@contextlib.contextmanager
def _writing(where: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot write to {where}: {error.strerror or error}; free space or choose another folder, and label"
            " again: what is sealed is kept"
        ) from error


@contextlib.contextmanager
def _reading(what: str | Path, how: str = "read") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{what}: cannot be {how} ({error.strerror or error}); label again") from error
