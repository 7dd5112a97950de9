"""Errors of clients in plain words: what is wrong, whether it may pass, and no secret."""

import errno

import pytest

from synthmill.store.reasons import reason_of, without_user


class ClientError(Exception):
    """As botocore has it."""

    def __init__(self, status, code="x"):
        super().__init__(f"An error occurred ({code})")
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}, "Error": {"Code": code}}


class EndpointConnectionError(Exception):
    pass


class ReadTimeout(Exception):
    pass


def because(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "words", "passes"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "its disk is full", False),
        (because(OSError(errno.EIO, "x"), ClientError(507)), "its disk is full", False),
        (because(PermissionError("Forbidden"), ClientError(403)), "it refuses the credentials (403)", False),
        (PermissionError("Forbidden"), "it refuses the credentials", False),
        (because(FileNotFoundError("x"), ClientError(404, "NoSuchBucket")), "the bucket or folder is not there", False),
        (EndpointConnectionError("x"), "it cannot be reached", True),
        (because(OSError("x"), ConnectionRefusedError(errno.ECONNREFUSED, "refused")), "it cannot be reached", True),
        (ReadTimeout("x"), "it does not answer", True),
        (ClientError(503), "the server fails (503)", True),
        (ClientError(429), "the server fails (429)", True),
        (ConnectionResetError(), "the connection broke off", True),
        (ValueError("odd\nsecond line"), "odd", False),
    ],
)
def test_reason(error, words, passes):
    reason = reason_of(error)
    assert reason.words.startswith(words)
    assert reason.passes is passes
    assert reason.advice.endswith(".")


def test_secrets_are_not_shown():
    error = ValueError("GET https://me:pass@host/x?token=hunter2 went wrong")
    assert reason_of(error, ["hunter2"]).words == "GET https://host/x?token=*** went wrong"
    assert without_user("webdav://me:pass@host/store") == "webdav://host/store"
