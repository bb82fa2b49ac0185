"""What an exception means for the rest of a run."""

import errno
import inspect
import pickle

import httpx
import openai
import pytest

from llama_index_raganything import errors
from llama_index_raganything.errors import ErrorKind, Failure, PartialEmbeddingError, failure_kind

REQUEST = httpx.Request("POST", "http://127.0.0.1/")


def of_status(status):
    return openai.APIStatusError("no", response=httpx.Response(status, request=REQUEST), body=None)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), ErrorKind.FATAL),
        (PermissionError(errno.EACCES, "Permission denied"), ErrorKind.INPUT),
        (of_status(401), ErrorKind.FATAL),
        (of_status(400), ErrorKind.INPUT),
        (of_status(429), ErrorKind.TRANSIENT),
        (of_status(503), ErrorKind.TRANSIENT),
        (openai.APITimeoutError(REQUEST), ErrorKind.TRANSIENT),
        (httpx.ReadTimeout("late"), ErrorKind.TRANSIENT),
        (httpx.ConnectError("refused"), ErrorKind.TRANSIENT),
        (TimeoutError(), ErrorKind.TRANSIENT),
        (ConnectionResetError(), ErrorKind.TRANSIENT),
        (ValueError("odd"), ErrorKind.INPUT),
        (errors.DashScopeQuotaError("empty"), ErrorKind.FATAL),
        (errors.DashScopeServerError("down"), ErrorKind.TRANSIENT),
        (errors.DashScopeContentError("refused"), ErrorKind.INPUT),
        (errors.StoreUnavailableError("gone"), ErrorKind.FATAL),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_the_kind_of_an_exception(error, kind):
    assert failure_kind(error) is kind
    assert Failure.of(error).kind is kind


def test_every_error_says_its_kind():
    classes = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, Exception)]
    assert {type(each.kind) for each in classes} == {ErrorKind}


def test_the_worst_reason_decides_for_a_batch():
    reasons = {0: errors.DashScopeContentError("refused"), 1: errors.DashScopeTimeoutError("late")}
    error = PartialEmbeddingError("Some failed.", [None, None], reasons)
    assert pickle.loads(pickle.dumps(error)).kind is error.kind is ErrorKind.TRANSIENT
    assert PartialEmbeddingError("Some failed.").kind is ErrorKind.INPUT
