"""Archives by DICOMweb: QIDO, WADO and STOW, by dicomweb-client."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from ..data.errors import ArchiveError
from .contents import Keep, ListedSeries, Query

AS_STORED = (("application/dicom", "*"),)
"""Any transfer syntax: the one an instance is kept in."""
WRONG_HTTP = {
    401: "it asks who you are: put name and password into ~/.netrc",
    403: "it does not let you",
    404: "there is nothing at this address; expected one like http://HOST:PORT/dicom-web",
}


def _check_whole(response: requests.Response, **_: Any) -> None:
    """Raise where an answer in parts lacks its end: half an instance can be read as one, and would be kept."""
    kind = response.headers.get("Content-Type", "")
    if response.ok and kind.startswith("multipart/"):
        boundary = re.search('boundary="?([^";]+)', kind)
        if boundary and not response.content.rstrip().endswith(f"--{boundary[1]}--".encode()):
            raise requests.ConnectionError("the answer has no end")


@dataclass(frozen=True)
class WebArchive:
    """An archive with a web address.

    Attributes:
        url: of its DICOMweb service. Name and password come from ``~/.netrc``, so that none is on a command line.
        timeout: seconds to wait for an answer.
    """

    url: str
    timeout: float = 30.0

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"archive at {self.url}"

    @cached_property
    def _client(self) -> DICOMwebClient:
        try:
            session = requests.Session()
            session.hooks["response"].append(_check_whole)
            client = DICOMwebClient(self.url, session, timeout=self.timeout)
        except (ValueError, TypeError) as error:
            raise ArchiveError(
                f"'{self.url}' is no web address; expected one like http://HOST:PORT/dicom-web."
            ) from error
        client.set_http_retry_params(retry=False)  # which would wait for minutes; a user can run again
        return client

    def find(self, query: Query) -> list[ListedSeries]:
        """See :class:`~.contents.Archive`."""
        found = []
        with self._told():
            for study in self._all(self._client.search_for_studies, search_filters=query.study_keys):
                uid = str(study.StudyInstanceUID)
                for series in self._all(self._client.search_for_series, uid, search_filters=query.series_keys):
                    inner = str(series.SeriesInstanceUID)
                    instances = self._all(self._client.search_for_instances, uid, inner)
                    found.append(
                        ListedSeries(
                            uid,
                            inner,
                            {str(one.SOPInstanceUID): str(one.get("SOPClassUID") or "") for one in instances},
                            *(
                                str(series.get(name) or "")
                                for name in ("Modality", "SeriesNumber", "SeriesDescription")
                            ),
                            str(study.get("StudyDate") or ""),
                        )
                    )
        return found

    @staticmethod
    def _all(search: Callable[..., list[dict]], *arguments: str, **options: Any) -> list[Dataset]:
        return [Dataset.from_json(one) for one in search(*arguments, **options, get_remaining=True) or []]

    def fetch(self, series: ListedSeries, missing: Iterable[str], keep: Keep) -> None:
        """See :class:`~.contents.Archive`."""
        with self._told():
            for uid in missing:
                dataset = self._client.retrieve_instance(series.study, series.uid, uid, media_types=AS_STORED)
                content = io.BytesIO()
                dataset.save_as(content, enforce_file_format=True)
                keep(uid, content.getvalue())

    def store(self, files: Iterable[Path], taken: Callable[[Path], None]) -> dict[Path, str]:
        """See :class:`~.contents.Archive`."""
        refused: dict[Path, str] = {}
        with self._told():
            for path in files:
                try:
                    answer = self._client.store_instances([dcmread(path)])
                except requests.HTTPError as error:
                    if error.response.status_code not in (400, 409, 415):  # of this file, not of the archive
                        raise
                    refused[path] = f"HTTP {error.response.status_code}"
                    continue
                failed = answer.get("FailedSOPSequence")
                if failed:
                    refused[path] = f"reason 0x{int(failed[0].get('FailureReason', 0)):04X}"
                else:
                    taken(path)
        return refused

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What the web throws as an error that says what to do."""
        try:
            yield
        except requests.HTTPError as error:
            code = error.response.status_code
            raise ArchiveError(
                f"{self.name} refused what was asked (HTTP {code}): {WRONG_HTTP.get(code, error.response.reason)}."
            ) from error
        except requests.Timeout as error:
            raise ArchiveError(
                f"{self.name} fell silent (waited {self.timeout:g} s). What came is kept: run again, and it goes on."
            ) from error
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError, InvalidDicomError) as error:
            raise ArchiveError(
                f"{self.name} cannot be reached or cut the connection. Check the address; what came is kept."
            ) from error
        except (requests.RequestException, ValueError) as error:
            raise ArchiveError(f"{self.name} answers as no DICOMweb service does ({type(error).__name__}).") from error
