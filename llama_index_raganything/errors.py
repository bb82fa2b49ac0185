"""Every exception that the package raises on purpose.

.. code-block:: text

    RAGAnythingError
    ├── ConfigurationError            (ValueError)   an argument or setting is wrong
    │   └── UnknownArgumentError      (TypeError)    there is no argument of this name; the nearest one is told
    ├── MissingDependencyError        (ImportError)  a package or its weights are not installed
    ├── ParseError                    (ValueError)   a file could not be turned into elements
    │   ├── UnsupportedFormatError                   no parser takes this kind of file
    │   ├── EncryptedFileError                       the file needs a password
    │   ├── CorruptFileError                         empty, truncated, mislabelled or damaged
    │   └── FileTooLargeError                        over a configured limit
    ├── SourceError                   (OSError)      a path or URL cannot be read
    │   └── BlockedSourceError                       refused on purpose (URL guard, path outside its folder)
    ├── StoreError                    the vector store refused or failed
    │   ├── StoreLockedError                         another process holds the Milvus Lite directory
    │   ├── StoreUnavailableError                    the server or directory cannot be reached or written
    │   ├── SchemaMismatchError                      the stored collection has another schema or dimension
    │   └── SQLError                                 SQL on tables could not be run
    │       ├── SQLRefusedError                      it is not one read-only query of tables
    │       ├── UnknownTableError                    it names a table that is not there
    │       └── SQLLimitError                        it took too long or too much memory
    ├── FilterError                   (ValueError)   a metadata filter that cannot be expressed safely
    ├── NodeValueError                (ValueError)   a node that cannot be stored (bytes, dimension, NaN)
    ├── EnrichmentError               a model's answer about an element cannot be used
    │   └── NoAnswerError             a model gave no answer; asking it again later may help
    ├── DashScopeError                a call of DashScope failed: code, request_id, status
    │   ├── DashScopeAuthenticationError             no key, a wrong one, or one of another region
    │   ├── DashScopePermissionError                 the key may not use this model, or there is no such model
    │   ├── DashScopeQuotaError                      the account's quota or money is used up
    │   ├── DashScopeRateLimitError                  too many requests or tokens at a time
    │   ├── DashScopeBadRequestError                 the request itself is refused
    │   ├── DashScopeContentError                    content inspection refused a text or an image
    │   ├── DashScopeServerError                     the service or its gateway failed
    │   ├── DashScopeTimeoutError                    no answer in time
    │   ├── DashScopeConnectionError                 the service cannot be reached, or hung up
    │   └── DashScopeProtocolError                   an answer that is not as documented
    ├── PartialEmbeddingError         some inputs of a batch could not be embedded, others were
    └── IngestionError                one or more documents failed, raised with ``strict=True``

Each message says what was wrong, with the value, and what to do. Each error says by its ``kind`` what that means for
the rest of a run: stop, try again later, or go on without this input; :func:`failure_kind` says so of any exception.
Catch the base class to catch them all:

>>> from llama_index_raganything import RAGAnythingError, RAGAnythingReader
>>> try:
...     RAGAnythingReader().load_data("missing.pdf")
... except RAGAnythingError as error:
...     print(type(error).__name__)
SourceError
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Self


class ErrorKind(StrEnum):
    """What an error means for the rest of a run."""

    FATAL = "fatal"
    """Every further call would fail too: credentials, quota, settings, a full disk, a store that is down."""

    TRANSIENT = "transient"
    """The same call may succeed later: rate limits, time-outs, failures of a service."""

    INPUT = "input"
    """This file, text or image is at fault; others may succeed."""


class RAGAnythingError(Exception):
    """Base class of every exception that this package raises on purpose.

    None of them is a ``RuntimeError``: LlamaIndex's blocking wrappers of async calls (``use_async=True``) report every
    ``RuntimeError`` as "Detected nested async" (llama-index-core 0.14, ``asyncio_run``).

    Attributes:
        kind: What the error means for the rest of a run.
        refuses_content: Whether a service's content inspection refused this text or image: asking again is no use.
    """

    kind: ErrorKind = ErrorKind.INPUT
    refuses_content: bool = False


class ConfigurationError(RAGAnythingError, ValueError):
    """Raised when an argument or a setting has an unusable value."""

    kind = ErrorKind.FATAL


class UnknownArgumentError(ConfigurationError, TypeError):
    """Raised for an argument that does not exist; a ``TypeError``, as in Python itself."""


class MissingDependencyError(RAGAnythingError, ImportError):
    """Raised when an optional package, or the weights it needs, is not installed."""

    kind = ErrorKind.FATAL


class ParseError(RAGAnythingError, ValueError):
    """Raised when a file was read but could not be turned into elements.

    Args:
        message: What was wrong and what to do.
        source: File or URL that the message is about.
    """

    def __init__(self, message: str, source: str = "") -> None:
        super().__init__(message, source)
        self.message = message
        self.source = source

    def __str__(self) -> str:
        """Return the message alone; the source is already named in it."""
        return self.message


class UnsupportedFormatError(ParseError):
    """Raised when no available parser reads this kind of file."""


class EncryptedFileError(ParseError):
    """Raised when a file cannot be opened without a password."""


class CorruptFileError(ParseError):
    """Raised when a file is empty, truncated, mislabelled or damaged."""


class FileTooLargeError(ParseError):
    """Raised when a file is larger than a configured limit."""


class SourceError(RAGAnythingError, OSError):
    """Raised when a path or URL does not exist or cannot be read."""


class BlockedSourceError(SourceError):
    """Raised when a path or URL is refused for safety."""


class StoreError(RAGAnythingError):
    """Raised when the vector store rejected an operation or failed."""

    kind = ErrorKind.TRANSIENT


class StoreLockedError(StoreError):
    """Raised when another process has locked the Milvus Lite directory."""

    kind = ErrorKind.FATAL


class StoreUnavailableError(StoreError):
    """Raised when the Milvus server or directory cannot be reached or written."""

    kind = ErrorKind.FATAL


class SchemaMismatchError(StoreError):
    """Raised when a stored collection has another schema or dimension than requested."""

    kind = ErrorKind.FATAL


class SQLError(StoreError):
    """Raised when SQL on tables could not be run."""

    kind = ErrorKind.INPUT


class SQLRefusedError(SQLError):
    """Raised for SQL that is not a single read-only query of tables."""


class UnknownTableError(SQLError):
    """Raised for SQL that names a table that does not exist."""


class SQLLimitError(SQLError):
    """Raised when SQL exceeded its time or memory limit and was stopped."""


class FilterError(RAGAnythingError, ValueError):
    """Raised when a metadata filter cannot be expressed safely."""


class NodeValueError(RAGAnythingError, ValueError):
    """Raised when a node holds a value that Milvus cannot store."""


class EnrichmentError(RAGAnythingError):
    """Raised when a model's answer about an element is unusable."""


class NoAnswerError(EnrichmentError):
    """Raised when a model did not answer about an element; the next run asks again."""

    kind = ErrorKind.TRANSIENT


class DashScopeError(RAGAnythingError):
    """Raised when a call to DashScope, Alibaba Cloud's model service, failed.

    Args:
        message: What happened and what to do.
        code: The service's own code, such as ``Throttling.RateQuota``; empty if it sent none.
        request_id: The id that Alibaba Cloud's support asks for; empty if the service sent none.
        status: HTTP status; None without a response.
    """

    kind = ErrorKind.TRANSIENT

    def __init__(self, message: str, *, code: str = "", request_id: str = "", status: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.request_id = request_id
        self.status = status

    def __str__(self) -> str:
        """Return the message with the service's request id, if there is one."""
        return f"{self.message} (request id {self.request_id})" if self.request_id else self.message


class DashScopeAuthenticationError(DashScopeError):
    """Raised when the API key is missing, wrong, or from another region."""

    kind = ErrorKind.FATAL


class DashScopePermissionError(DashScopeError):
    """Raised when the key may not use the model, or the model does not exist."""

    kind = ErrorKind.FATAL


class DashScopeQuotaError(DashScopeError):
    """Raised when the account's quota or balance is exhausted; retrying does not help."""

    kind = ErrorKind.FATAL


class DashScopeRateLimitError(DashScopeError):
    """Raised when requests or tokens still exceeded the rate limit after all retries.

    Args:
        message: What happened and what to do.
        retry_after_s: Seconds that the service asks to wait, if it says so.
        **fields: As for :class:`DashScopeError`.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None, **fields: Any) -> None:
        super().__init__(message, **fields)
        self.retry_after_s = retry_after_s


class DashScopeBadRequestError(DashScopeError):
    """Raised when the service rejects the request itself."""

    kind = ErrorKind.INPUT


class DashScopeContentError(DashScopeError):
    """Raised when content inspection rejected a text or an image."""

    kind = ErrorKind.INPUT
    refuses_content = True


class DashScopeServerError(DashScopeError):
    """Raised when the service or its gateway still failed after all retries."""


class DashScopeTimeoutError(DashScopeError):
    """Raised when the service did not answer in time."""


class DashScopeConnectionError(DashScopeError):
    """Raised when the service is unreachable, or closed the connection before the answer was complete."""


class DashScopeProtocolError(DashScopeError):
    """Raised when an answer does not follow the documentation: no JSON, no choices, vectors of the wrong length."""


class PartialEmbeddingError(RAGAnythingError):
    """Raised when some inputs of a batch could not be embedded; it carries the vectors of the others.

    Args:
        message: What happened and what to do.
        embeddings: One vector per input, None for those that failed.
        failures: The reason for each failed input, by position.
    """

    def __init__(
        self,
        message: str,
        embeddings: list[list[float] | None] | None = None,
        failures: dict[int, RAGAnythingError] | None = None,
    ) -> None:
        super().__init__(message, embeddings, failures)
        self.message = message
        self.embeddings = list(embeddings or [])
        self.failures = dict(failures or {})
        kinds = {reason.kind for reason in self.failures.values()}
        self.kind = next((kind for kind in ErrorKind if kind in kinds), ErrorKind.INPUT)

    def __str__(self) -> str:
        """Return the message alone, without vectors."""
        return self.message


class IngestionError(RAGAnythingError):
    """Raised at the end of a strict run in which documents failed.

    Args:
        message: Summary of the run.
        failures: Pairs of source and reason, one per failed document.
    """

    def __init__(self, message: str, failures: list[tuple[str, str]] | None = None) -> None:
        super().__init__(message, failures)
        self.message = message
        self.failures = list(failures or [])

    def __str__(self) -> str:
        """Return the summary followed by one line per failed document."""
        lines = [f"  {source}: {reason}" for source, reason in self.failures]
        return "\n".join([self.message, *lines])


@dataclass(frozen=True)
class Failure:
    """Why one of many inputs failed, in a form that crosses process borders.

    Attributes:
        reason: One line.
        kind: What it means for the other inputs.
        error: The error itself; None for one of another process that may not pickle.
    """

    reason: str
    kind: ErrorKind = ErrorKind.INPUT
    error: Exception | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Describe an exception in one line; errors of this package carry their own text."""
        text = str(error) if isinstance(error, RAGAnythingError) else f"{type(error).__name__}: {error}"
        return cls(" ".join(text.split()), failure_kind(error), error if isinstance(error, Exception) else None)


_DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_FATAL_STATUS: Final = frozenset({401, 402})  # 403 is also what gateways answer for the content of one request.
_TRANSIENT_STATUS: Final = frozenset({408, 409, 429})
# By name, because httpx and model clients need not be installed or imported.
_TRANSIENT_NAMES: Final = frozenset({"TransportError", "APIConnectionError"})


def failure_kind(error: BaseException) -> ErrorKind:
    """Return what any exception means for the rest of a run.

    Exceptions that are not recognised count as the input's fault.

    Args:
        error: An exception of this package, Python, httpx, or a client that keeps the HTTP status in ``status_code``,
            as OpenAI's does.
    """
    if isinstance(error, RAGAnythingError):
        return error.kind
    status = getattr(error, "status_code", None)
    if status in _FATAL_STATUS or getattr(error, "errno", None) in _DISK_FULL:
        return ErrorKind.FATAL
    names = {base.__name__ for base in type(error).__mro__}
    is_late = isinstance(error, TimeoutError | ConnectionError) or not names.isdisjoint(_TRANSIENT_NAMES)
    if is_late or status in _TRANSIENT_STATUS or (isinstance(status, int) and status >= 500):
        return ErrorKind.TRANSIENT
    return ErrorKind.INPUT
