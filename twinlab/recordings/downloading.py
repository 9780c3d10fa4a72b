"""One file over HTTP: resumed where it broke off, tried again, refused if it is another thing.

What has come lies in a `.part` file with a note of its version beside it, and outlives the
process; only a whole file is handed on.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import threading
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import requests

from twinlab.recordings.kinds import Refused, check_beginning

if TYPE_CHECKING:
    from twinlab.recordings.fetching import FetchSettings

__all__ = [
    "Download",
    "Stopped",
    "Unreachable",
    "open_session",
    "size_at_host",
]

CHUNK = 1 << 16  # bytes; small, so that a stop is noticed at once
AGAIN = (408, 425, 429, 500, 502, 503, 504)
WORDS = {
    401: "it asks for a login",
    403: "it does not let us have the file",
    404: "it has no such file",
    410: "it has the file no more",
}


class Unreachable(Refused):
    """No host answers: the network is to blame, and no other file will fare better."""


class Stopped(Exception):  # noqa: N818 - a request that was honoured
    """The download was asked to stop; what has come is kept."""


class _Failed(Exception):
    """An attempt failed; another may not."""

    def __init__(self, why: str, wait_s: float = 0.0, ends_as: type[Refused] = Refused) -> None:
        super().__init__(why)
        self.wait_s, self.ends_as = wait_s, ends_as


class _Session(requests.Session):
    """A session that is not led from an encrypted address to an open one."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if target and resp.url.startswith("https:"):
            led_to = urljoin(resp.url, target)
            if not led_to.startswith("https:"):
                msg = f"the host leads on to {led_to}, which is not encrypted"
                raise Refused(msg)
        return target


def open_session() -> requests.Session:
    """Give a session that follows redirects, and proxies as the environment names them."""
    session = _Session()
    session.headers["Accept-Encoding"] = "identity"  # else lengths and ranges mean nothing
    return session


def size_at_host(session: requests.Session, url: str, settings: FetchSettings) -> int | None:
    """Bytes of a file as its host says; None if it does not say.

    Raises
    ------
    Unreachable
        If it does not answer.

    """
    try:
        answer = session.head(url, allow_redirects=True, timeout=settings.timeout)
    except requests.ConnectionError as error:
        raise Unreachable(str(error)) from error
    except (requests.RequestException, Refused):  # the download itself will say what is wrong
        return None
    return _length(answer) if answer.ok else None


class Download:
    """One file on its way into a `.part` file; a downloader as pooch takes it.

    Parameters
    ----------
    session : requests.Session
        From `open_session`.
    part : Path
        Where the bytes gather. Its note ("....json") says which version of the file they are of.
    size : int or None
        Bytes the file must have, where that is published.
    settings : FetchSettings
    stop : threading.Event
        Set by whoever wants no more of it.
    hear : callable
        Called with the number of bytes there are so far.

    Attributes
    ----------
    sha256 : str
        Of the whole file, once it has been downloaded.

    """

    def __init__(
        self,
        session: requests.Session,
        part: Path,
        size: int | None,
        settings: FetchSettings,
        stop: threading.Event,
        hear: Callable[[int], None],
    ) -> None:
        self.session, self.settings, self.stop, self.hear = session, settings, stop, hear
        self.part, self.note = part, part.with_name(part.name + ".json")
        self.size = size
        self.sha256 = ""
        self.done, self.version = 0, ""
        self.total: int | None = None
        self._hasher = hashlib.sha256()
        self._response: requests.Response | None = None

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """Download, however many attempts it takes, and move the whole file to its place.

        Raises
        ------
        Refused
            If the host does not give the file, or gives something else.
        Stopped
            If `stop` was set.

        """
        self.part.parent.mkdir(parents=True, exist_ok=True)
        self._remember(url)
        failures, most = 0, self.done
        while not self.is_whole:
            try:
                self._attempt(url)
            except (_Failed, requests.RequestException) as error:
                failure = error if isinstance(error, _Failed) else _judged(error)
            else:
                continue
            finally:
                self._response = None
            self._check()
            failures = 1 if self.done > most else failures + 1
            most = max(most, self.done)
            if failures >= self.settings.n_try:
                msg = f"{failure}; {failures} attempts in a row brought nothing"
                raise failure.ends_as(msg) from failure
            self._wait(failure, failures)
        if self.size not in (None, self.total):
            msg = f"the host sent {self.total} bytes, where the manifest says {self.size}"
            self.discard()
            raise Refused(msg)
        self.sha256 = self._hasher.hexdigest()
        os.replace(self.part, output_file)
        self.note.unlink(missing_ok=True)

    @property
    def is_whole(self) -> bool:
        """Whether all bytes have come."""
        return self.total is not None and self.done == self.total

    def interrupt(self) -> None:
        """Wake an attempt that waits for bytes, so that it sees that it shall stop."""
        response = self._response
        if response is not None:
            try:
                response.raw.shutdown()
            except (OSError, ValueError, RuntimeError, AttributeError):
                return  # it is over already

    def discard(self) -> None:
        """Throw away what has come."""
        self.note.unlink(missing_ok=True)
        self.part.unlink(missing_ok=True)
        self._forget()

    def _attempt(self, url: str) -> None:
        headers = {}
        if self.done and self.version:
            headers = {"Range": f"bytes={self.done}-", "If-Range": self.version}
        with self.session.get(
            url, headers=headers, stream=True, timeout=self.settings.timeout
        ) as response:
            self._response = response
            self._check()
            self._begin_or_go_on(response, url)
            with self.part.open("ab") as file:
                for chunk in response.iter_content(CHUNK):
                    self._check()
                    if not self.done:
                        check_beginning(self.part.name.removesuffix(".part"), chunk)
                    file.write(chunk)
                    self._hasher.update(chunk)
                    self.done += len(chunk)
                    self.hear(self.done)
        if self.total is None:  # a chunked answer says by its end how long it was
            self.total = self.done
        if not self.is_whole:
            msg = f"the host sent {self.done} bytes, where it had said {self.total}"
            if self.done > self.total:
                self.discard()
            raise _Failed(msg)

    def _begin_or_go_on(self, response: requests.Response, url: str) -> None:
        """See what the host answers; set the `.part` file to where the bytes belong."""
        status = response.status_code
        if status == 416:
            self.discard()
            msg = "the file is not as long as the host said"
            raise _Failed(msg)
        if status in AGAIN:
            msg = f"the host answers {status} {response.reason}"
            raise _Failed(msg, _asked_wait(response))
        if status not in (200, 206):
            msg = f"the host answers {status} {response.reason}: {WORDS.get(status, 'unexpected')}"
            raise Refused(msg)
        if response.headers.get("Content-Encoding", "identity") not in ("", "identity"):
            msg = "the host sends the file compressed, though it was asked not to"
            raise Refused(msg)
        if status == 206:
            if not self._goes_on(response):
                self.discard()
                msg = "the file changed at the host while it was fetched"
                raise _Failed(msg)
            return
        self.discard()  # the whole file: the host ignores ranges, or has another version by now
        total = _length(response)
        if self.size is not None and total not in (None, self.size):
            msg = f"it has {total} bytes at the host, where the manifest says {self.size}"
            raise Refused(msg)
        if total is None and response.headers.get("Transfer-Encoding", "").lower() != "chunked":
            if self.size is None:
                msg = "the host does not say how long the file is, so its end cannot be known"
                raise Refused(msg)
            total = self.size
        self.version, self.total = _version(response), total
        note = {"url": url, "version": self.version, "total": total}
        self.note.write_text(json.dumps(note), encoding="utf-8")

    def _goes_on(self, response: requests.Response) -> bool:
        """Whether an answer to a range continues the bytes that are there."""
        span = re.fullmatch(
            r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip()
        )
        if span is None or int(span[1]) != self.done or _version(response) != self.version:
            return False
        if self.total is None and span[2] != "*":
            self.total = int(span[2])
        return span[2] in ("*", str(self.total))

    def _remember(self, url: str) -> None:
        """Take up what an earlier process left, if it is of the same file and can be continued."""
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
            usable = note["url"] == url and bool(note["version"])
            total = note["total"]
            usable &= total is None or self.part.stat().st_size <= int(total)
        except (OSError, ValueError, KeyError, TypeError):
            usable = False
        if not usable:
            self.discard()
            return
        with self.part.open("rb") as file:
            while chunk := file.read(1 << 20):
                self._check()
                self._hasher.update(chunk)
                self.done += len(chunk)
        self.version, self.total = note["version"], total
        self.hear(self.done)

    def _forget(self) -> None:
        self.done, self.total, self.version = 0, None, ""
        self._hasher = hashlib.sha256()

    def _check(self) -> None:
        if self.stop.is_set():
            raise Stopped

    def _wait(self, failure: _Failed, failures: int) -> None:
        if failure.wait_s > self.settings.longest_wait_s:
            msg = f"{failure} and asks to come back in {failure.wait_s:.0f} s"
            raise Refused(msg) from failure
        pause = min(self.settings.longest_wait_s, self.settings.backoff_s * 2 ** (failures - 1))
        # Many who were turned away together shall not come back together.
        if self.stop.wait(max(failure.wait_s, pause * random.uniform(0.5, 1))):
            raise Stopped


def _version(response: requests.Response) -> str:
    """What tells one version of a file from another, as `If-Range` takes it; may be empty."""
    tag = response.headers.get("ETag", "")
    if tag and not tag.startswith("W/"):  # a weak one holds for versions that differ in bytes
        return tag
    return response.headers.get("Last-Modified", "")


def _length(response: requests.Response) -> int | None:
    told = response.headers.get("Content-Length", "")
    return int(told) if told.isdigit() else None


def _asked_wait(response: requests.Response) -> float:
    """Seconds that the host asks to wait (`Retry-After`: seconds, or a date)."""
    told = response.headers.get("Retry-After", "")
    if told.isdigit():
        return float(told)
    try:
        return max(0.0, parsedate_to_datetime(told).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0


def _judged(error: requests.RequestException) -> _Failed:
    """What an error of `requests` means: another try, or `Refused`."""
    hopeless = (
        requests.exceptions.TooManyRedirects,
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
    )
    words = " ".join(str(error).split())[:200]
    untrusted = isinstance(error, requests.exceptions.SSLError) and "CERTIFICATE" in words.upper()
    if untrusted or isinstance(error, hopeless):
        msg = f"the host cannot be trusted or found ({words})"
        raise Refused(msg) from error
    if isinstance(error, requests.exceptions.ProxyError):
        return _Failed(f"the proxy does not let us through ({words})")
    if isinstance(error, requests.exceptions.Timeout) or "timed out" in words.lower():
        return _Failed("the host went silent")
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return _Failed("the connection broke off")
    return _Failed(f"the host could not be reached ({words})", ends_as=Unreachable)
