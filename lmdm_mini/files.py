"""Files that are written whole or not at all, and a destination that is checked before the work.

A file is written beside its place and moved there when it is complete. An interrupted program, or a full
disk, leaves the old file or nothing.
"""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path, errors: tuple[type[Exception], ...] = ()) -> Iterator[Path]:
    """A path to write to instead of `path`; what was written there is moved to `path` at the end, or deleted
    if that failed. Missing folders are made; a link stays a link, and its target is replaced.

    errors: what a library raises instead of OSError when it cannot write.
    Raises OSError with one sentence, which names `path`.
    """
    path = Path(os.path.realpath(path))
    part = path.with_name(f".{os.getpid()}.{threading.get_ident()}.part")  # short: long names stay possible
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(path)
    except (OSError, *errors) as error:
        raise OSError(f"{path} could not be written: {_reason(error, path.parent)}.") from error
    finally:
        part.unlink(missing_ok=True)


def write_text(path, text: str) -> None:
    """Writes a text file whole, in UTF-8. Raises OSError."""
    with written_whole(path) as part:
        part.write_text(text, encoding="utf-8")


def _reason(error: Exception, folder: Path) -> str:
    try:
        if shutil.disk_usage(folder).free < 1e6:
            return "the disk is full"
    except OSError:  # no such folder
        pass
    return (getattr(error, "strerror", None) or str(error)).rstrip(".")


def check_writable(path) -> Path:
    """`path`, if a file can be written there; its folder is made if it is missing. To be called before the
    work that fills the file.

    Raises OSError with one sentence: for a folder, a file or folder that is protected, a name that is too
    long, or one that is no text.
    """
    path = Path(path)
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise OSError(f"{str(path)!r} cannot be written: the name holds a byte that is no text.") from error
    try:
        if path.is_dir():
            raise IsADirectoryError
        if path.exists() and not (path.is_file() and os.access(path, os.W_OK)):
            raise PermissionError(None, "it is protected, or not a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():  # the name itself is tried: it may be too long for this disk
            path.touch()
            path.unlink()
        probe = path.with_name(f".{os.getpid()}.probe")  # and then a file beside it, as `written_whole` needs
        probe.touch()
        probe.unlink()
    except IsADirectoryError as error:
        raise OSError(f"{path} is a folder; name a file in it, for instance {path / 'music.wav'}.") from error
    except (FileExistsError, NotADirectoryError) as error:
        raise OSError(f"{path} cannot be written: {path.parent} is a file, not a folder.") from error
    except OSError as error:
        raise OSError(f"{path} cannot be written: {_reason(error, path.parent)}.") from error
    return path
