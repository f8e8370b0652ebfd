"""Downloading one file: with a limit of its size, and a clear word when the network fails."""

from __future__ import annotations

import http.client
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

from ..data.errors import CheckpointError

TIMEOUT = 30
"""Seconds without a byte after which a download is given up."""
BLOCK = 1 << 18
HERE = ("localhost", "127.0.0.1", "::1")
"""Hosts that may be read without encryption."""


def is_url(source: str | Path) -> bool:
    """Whether ``source`` is meant as an address and not as a path."""
    return isinstance(source, str) and "://" in source


def download(url: str, target: Path, limit: int, on_bytes: Callable[[int, int | None], None] | None = None) -> None:
    """Write what ``url`` gives to ``target``; proxies are those of the system.

    Args:
        url: https or file; http from this computer alone.
        target: file to write.
        limit: bytes it may have at most.
        on_bytes: called with the bytes so far and in all (None: unknown); may raise to stop.

    Raises:
        CheckpointError: refused, or the network failed.
    """
    opener = urllib.request.build_opener(_SafeRedirects)
    try:
        _check_address(url)
        with opener.open(url, timeout=TIMEOUT) as response, target.open("wb") as writing:
            length = response.headers.get("Content-Length")
            _stream(response, writing, limit, int(length) if length and length.isdigit() else None, on_bytes)
    except HTTPError as error:
        raise CheckpointError(
            f"'{url}' could not be downloaded: the server answered {error.code} {error.reason}. Check the address."
        ) from error
    except (OSError, http.client.HTTPException, ValueError) as error:  # URLError, timeout, reset, cut short, TLS
        reason = getattr(error, "reason", None) or error
        raise CheckpointError(
            f"'{url}' could not be downloaded ({reason}). Check address, network and proxy (environment variable "
            "HTTPS_PROXY), or download it with a browser and add the file."
        ) from error


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a server to another address only where the user could have gone."""

    def redirect_request(self, *arguments: Any) -> urllib.request.Request | None:
        """Called by urllib; the last argument is the new address."""
        _check_address(arguments[-1], redirected=True)
        return super().redirect_request(*arguments)


def _check_address(url: str, redirected: bool = False) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in HERE):
        return
    if parts.scheme == "file" and not redirected:
        return
    raise CheckpointError(
        f"'{url}' cannot be downloaded from; expected an address that begins with https:// or file://. Download it "
        "with a browser and add the file."
    )


def _stream(
    reading: Any, writing: Any, limit: int, length: int | None, on_bytes: Callable[[int, int | None], None] | None
) -> None:
    done = 0
    if length is not None and length > limit:
        raise CheckpointError(f"the download has {length / 1e6:.0f} MB; at most {limit / 1e6:.0f} MB are taken.")
    while block := reading.read(BLOCK):
        done += len(block)
        if done > limit:
            raise CheckpointError(f"the download has more than {limit / 1e6:.0f} MB and was stopped.")
        writing.write(block)
        if on_bytes:
            on_bytes(done, length)
    if length is not None and done < length:
        raise ConnectionError(f"the connection ended after {done} of {length} bytes")
