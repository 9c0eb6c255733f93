"""Files at addresses: s3://, gs://, hf:// and whatever else pyarrow or fsspec opens."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any, BinaryIO

from ..errors import one_line
from .errors import AudioError

WHOLE = 4 << 20  # bytes: files up to this size are fetched at once, larger ones in parts of it
BY_PYARROW = ("s3", "gs", "gcs")


class Address(str):
    """Where a file lies, for [`load_audio`] and all that takes what it takes.

    A plain text is never fetched from a network: whoever means an address says so.

    Example:
        >>> Address("memory://sounds/dog.wav")
        'memory://sounds/dog.wav'
    """

    def open(self) -> BinaryIO:
        """The file, to be read from any place in it.

        Raises:
            AudioError: It is not there, or can't be opened.
        """
        try:
            files, path = filesystem_of(self)
            file = files.open(path, "rb")
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            if size > WHOLE:
                return io.BufferedReader(file, WHOLE)
            with file:
                return io.BytesIO(file.read())
        except FileNotFoundError:
            raise AudioError(f"{self}: no such file; check the address") from None
        except AudioError:
            raise
        except Exception as error:  # of whatever library reads from there
            raise AudioError(f"{self}: cannot be opened ({one_line(error)}); check the address and the keys") from None


def is_address(place: object) -> bool:
    """Whether this is an address, and no path.

    Example:
        >>> is_address("s3://sounds/dog.wav"), is_address("sounds/dog.wav")
        (True, False)
    """
    return isinstance(place, str) and "://" in place


def filesystem_of(place: str) -> tuple[Any, str]:
    """An fsspec filesystem, and what the place is called there.

    S3 and Google Cloud Storage are read by pyarrow, which takes keys, region and `AWS_ENDPOINT_URL` from the
    environment; so are paths. All others are fsspec's, `hf://` being huggingface_hub's.

    Raises:
        AudioError: Nothing here knows such addresses.
        ImportError: A package that does is not installed.

    Example:
        >>> filesystem_of("memory://sounds/dog.wav")[1]
        '/sounds/dog.wav'
    """
    if not is_address(place):
        return _of_pyarrow(""), place
    scheme, _, rest = place.partition("://")
    if scheme in BY_PYARROW:
        return _of_pyarrow(f"{scheme}://{rest.partition('/')[0]}"), rest
    import fsspec

    if scheme not in fsspec.available_protocols():
        raise AudioError(f"{place}: nothing here opens {scheme}://; check the address, or install what does")
    files = fsspec.filesystem(scheme)
    return files, str(files._strip_protocol(place))


@lru_cache(maxsize=64)
def _of_pyarrow(bucket: str) -> Any:
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow import fs

    return ArrowFSWrapper(fs.FileSystem.from_uri(bucket)[0] if bucket else fs.LocalFileSystem())


def arrow_filesystem(files: Any) -> Any:
    """The same for pyarrow."""
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    return files.fs if isinstance(files, ArrowFSWrapper) else PyFileSystem(FSSpecHandler(files))
