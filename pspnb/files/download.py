"""Downloads that are verified before they are used, and continued where they stopped.

Chapter: "Using pspnb". Only `fetch` opens a connection, and only for a file that is not in the cache yet.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from pathlib import Path
from typing import Any

from pspnb.errors import DownloadError, LoadError
from pspnb.files.cache import cache_folder
from pspnb.files.progress import progress_bar
from pspnb.files.sniff import kind_of, web_page_reason

YUNET_URL = "https://raw.githubusercontent.com/ShiqiYu/libfacedetection.train/master/onnx/yunet_n_dynamic.onnx"
YUNET_NAME = "yunet_n_dynamic.onnx"
YUNET_SHA256 = "104ee26c71d5c270ce79a6b3dced91c91013260d29a6bf18f9296c5b8c4c2b12"
YUNET_LICENCE = "Apache-2.0 (ShiqiYu/libfacedetection.train)"


def file_sha256(*paths: str | os.PathLike) -> str:
    """SHA-256 of a file, or of several one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def fetch(url: str, *, sha256: str, name: str, progress: bool = False) -> Path:
    """The verified file in the cache, downloaded first when it is not there; an interrupted download is continued.

    Raises DownloadError, one line: no connection, a web page instead of the file, or another file than expected.
    """
    import pooch
    import requests

    folder = cache_folder()
    logger = pooch.get_logger()
    level = logger.level
    try:
        logger.setLevel(logging.WARNING)
        folder.mkdir(parents=True, exist_ok=True)
        download = _ResumingDownload(folder / f"{name}.part", progress)
        return Path(pooch.retrieve(url, f"sha256:{sha256}", fname=name, path=folder, downloader=download))
    except DownloadError:
        raise
    except requests.RequestException as error:
        raise DownloadError(
            f"{url}: no download ({type(error).__name__}); expected a connection to the internet"
        ) from error
    except ValueError as error:  # pooch found another checksum, and has thrown the file away
        raise DownloadError(
            f"{url}: another file arrived than expected (sha256 differs); it was thrown away"
        ) from error
    except OSError as error:
        raise DownloadError(f"{folder}: cannot write the download: {error.strerror or error}") from error
    finally:
        logger.setLevel(level)


def yunet_is_here() -> bool:
    """Whether `yunet_file()` will find the detector without a connection (its checksum is not looked at)."""
    return bool(os.environ.get("PSPNB_YUNET")) or (cache_folder() / YUNET_NAME).is_file()


def yunet_file(path: str | os.PathLike | None = None) -> Path:
    """The face detector's file: `path`, else `$PSPNB_YUNET`, else the cache, where it is downloaded once."""
    given = path or os.environ.get("PSPNB_YUNET")
    if given:
        if not Path(given).is_file():
            raise LoadError(f"{given}: no such file; expected the face detector yunet_n_dynamic.onnx")
        return Path(given)
    try:
        return fetch(YUNET_URL, sha256=YUNET_SHA256, name=YUNET_NAME)
    except DownloadError as error:
        raise DownloadError(f"{error}; or give the detector's file as $PSPNB_YUNET") from error


class _ResumingDownload:
    """A downloader for pooch that keeps what has arrived in a `.part` file and asks for the rest next time."""

    def __init__(self, part: Path, progress: bool):
        self.part, self.progress = part, progress

    def __call__(self, url: str, output_file: str | os.PathLike, pooch: Any) -> None:
        self._receive(url)
        if kind_of(self.part) == "web page":
            reason = web_page_reason(self.part)
            self.part.unlink()
            raise DownloadError(f"{url}: the server sent {reason}")
        shutil.move(self.part, output_file)

    def _receive(self, url: str) -> None:
        import requests

        have = self.part.stat().st_size if self.part.exists() else 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        with requests.get(url, headers=headers, stream=True, timeout=60) as response:
            if response.status_code == 416:  # nothing beyond what we have; the checksum decides whether that is right
                return
            response.raise_for_status()
            continued = response.status_code == 206
            start = have if continued else 0
            total = int(response.headers.get("Content-Length", 0)) + start
            bar = progress_bar(total=total or None, initial=start, unit="B", unit_scale=True, wanted=self.progress)
            with open(self.part, "ab" if continued else "wb") as file, bar:
                for chunk in response.iter_content(1 << 16):
                    file.write(chunk)
                    bar.update(len(chunk))
