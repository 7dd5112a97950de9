"""Why a remote refused, in plain words, whatever client raised it: S3, WebDAV, SSH and HTTP clients each have errors of their own.

They are told apart by status, error number and name, so that no client has to be imported. Messages of clients are shown only where
nothing better is known, and without the secrets.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FULL_WORDS = re.compile(r"no space left|insufficient.?storage|quota.?exceeded|disk is full", re.IGNORECASE)
_DENIED_STATUS, _BUSY_STATUS, _FULL_STATUS = {401, 403, 407}, 429, 507
_DENIED = {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "PermissionDenied", "AuthError"}
_UNREACHABLE = {
    "EndpointConnectionError",
    "ConnectionRefusedError",
    "gaierror",
    "ClientConnectorError",
    "ClientConnectorDNSError",
    "ConnectError",
    "ConnectTimeout",
    "ConnectTimeoutError",
    "ConnectionTimeoutError",
}
_UNREACHABLE_NUMBERS = {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN}
_SILENT = {
    "TimeoutError",
    "ReadTimeout",
    "ReadTimeoutError",
    "WriteTimeout",
    "PoolTimeout",
    "SocketTimeoutError",
    "ServerTimeoutError",
}
_BROKEN = {
    "ConnectionResetError",
    "BrokenPipeError",
    "ConnectionAbortedError",
    "ServerDisconnectedError",
    "ClientOSError",
    "ClientPayloadError",
    "IncompleteRead",
    "RemoteProtocolError",
    "ReadError",
    "WriteError",
    "ConnectionClosedError",
    "ConnectionError",
    "HTTPClientError",
    "ResponseStreamingError",
    "ConnectionLost",
}
_NOT_THERE = re.compile(r"NoSuchBucket|bucket does not exist", re.IGNORECASE)
_USER_IN_URL = re.compile(r"(?<=://)[^/@\s]+@")


@dataclass(frozen=True, slots=True)
class Reason:
    """What is wrong, what a person does about it, and whether it may be over by itself."""

    words: str
    advice: str
    passes: bool = False


def reason_of(error: BaseException, secrets: Sequence[str] = ()) -> Reason:
    """The reason behind an error of any client."""
    chain = list(_chain(error))
    names = {kind.__name__ for link in chain for kind in type(link).__mro__}
    numbers = {link.errno for link in chain if isinstance(link, OSError)}
    status = next(filter(None, map(_status, chain)), None)
    texts = " ".join(map(str, chain))
    if numbers & _FULL or status == _FULL_STATUS or _FULL_WORDS.search(texts):
        return Reason("its disk is full, or its quota is used up", "Free some space there.")
    if status in _DENIED_STATUS or names & _DENIED or "PermissionError" in names:
        code = f" ({status})" if status else ""
        return Reason(f"it refuses the credentials{code}", "See that they are right and may write there.")
    if _NOT_THERE.search(texts) or "FileNotFoundError" in names:
        return Reason("the bucket or folder is not there", "Make it, or mend the url with `dvc remote modify`.")
    return _of_network(names, numbers, status) or Reason(
        _scrubbed(str(error) or type(error).__name__, secrets), "See that it works for `dvc push` too."
    )


def _of_network(names: set[str], numbers: set[int | None], status: int | None) -> Reason | None:
    if names & _UNREACHABLE or numbers & _UNREACHABLE_NUMBERS:
        return Reason("it cannot be reached", "See that the url is right and the server runs.", passes=True)
    if names & _SILENT:
        return Reason("it does not answer", "See whether the server and the network are overloaded.", passes=True)
    if status is not None and (status >= 500 or status == _BUSY_STATUS):
        return Reason(f"the server fails ({status})", "See the server's own log.", passes=True)
    if names & _BROKEN:
        return Reason("the connection broke off", "See that the server still runs.", passes=True)
    return None


def without_user(url: str) -> str:
    """The url without a name or password before its host."""
    return _USER_IN_URL.sub("", url)


def _scrubbed(text: str, secrets: Sequence[str]) -> str:
    line = next((line.strip() for line in text.splitlines() if line.strip()), text)
    for secret in secrets:
        line = line.replace(secret, "***")
    return without_user(line)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _status(error: BaseException) -> int | None:
    """The HTTP status that an error carries, wherever its client keeps it."""
    response = getattr(error, "response", None)
    found = [getattr(place, name, None) for place in (error, response) for name in ("status", "status_code")]
    if isinstance(response, dict):
        found.append(response.get("ResponseMetadata", {}).get("HTTPStatusCode"))
    return next((status for status in found if isinstance(status, int)), None)
