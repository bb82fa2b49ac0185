"""Every exception that the package raises on purpose.

.. code-block:: text

    RAGAnythingError
    ├── ConfigurationError            (ValueError)   an argument or setting is wrong
    ├── MissingDependencyError        (ImportError)  a package or its weights are not installed
    ├── ParseError                    (ValueError)   a file could not be turned into elements
    │   ├── UnsupportedFormatError                   no parser takes this kind of file
    │   ├── EncryptedFileError                       the file needs a password
    │   ├── CorruptFileError                         empty, truncated, mislabelled or damaged
    │   └── FileTooLargeError                        over a configured limit
    ├── SourceError                   (OSError)      a path or URL cannot be read
    │   └── BlockedSourceError                       refused on purpose (URL guard, path outside its folder)
    ├── StoreError                    (RuntimeError) the vector store refused or failed
    │   ├── StoreLockedError                         another process holds the Milvus Lite directory
    │   ├── StoreUnavailableError                    the server or directory cannot be reached or written
    │   ├── SchemaMismatchError                      the stored collection has another schema or dimension
    │   └── SQLError                                 SQL on tables could not be run
    │       ├── SQLRefusedError                      it is not one read-only query of tables
    │       ├── UnknownTableError                    it names a table that is not there
    │       └── SQLLimitError                        it took too long or too much memory
    ├── FilterError                   (ValueError)   a metadata filter that cannot be expressed safely
    ├── NodeValueError                (ValueError)   a node that cannot be stored (bytes, dimension, NaN)
    ├── EnrichmentError               (RuntimeError) a model's answer about an element cannot be used
    │   └── NoAnswerError             a model gave no answer; asking it again later may help
    └── IngestionError                (RuntimeError) one or more documents failed, raised with ``strict=True``

Each message says what was wrong, with the value, and what to do. Catch the base
class to catch them all:

>>> from llama_index_raganything import RAGAnythingError, RAGAnythingReader
>>> try:
...     RAGAnythingReader().load_data("missing.pdf")
... except RAGAnythingError as error:
...     print(type(error).__name__)
SourceError
"""

from __future__ import annotations


class RAGAnythingError(Exception):
    """Base class of every exception raised on purpose by this package."""


class ConfigurationError(RAGAnythingError, ValueError):
    """Raised when an argument or a setting has a value that cannot work."""


class MissingDependencyError(RAGAnythingError, ImportError):
    """Raised when an optional package, or the weights it needs, are not installed."""


class ParseError(RAGAnythingError, ValueError):
    """Raised when a file was read but could not be turned into elements.

    Args:
        message: What was wrong and what to do.
        source: The file or URL the message is about.
    """

    def __init__(self, message: str, source: str = "") -> None:
        super().__init__(message, source)
        self.message = message
        self.source = source

    def __str__(self) -> str:
        """Return the message alone; the source is already named in it."""
        return self.message


class UnsupportedFormatError(ParseError):
    """Raised when no available parser takes this kind of file."""


class EncryptedFileError(ParseError):
    """Raised when a file cannot be opened without a password."""


class CorruptFileError(ParseError):
    """Raised when a file is empty, truncated, mislabelled or damaged."""


class FileTooLargeError(ParseError):
    """Raised when a file is larger than a configured limit."""


class SourceError(RAGAnythingError, OSError):
    """Raised when a path or URL does not exist or cannot be read."""


class BlockedSourceError(SourceError):
    """Raised when a path or URL is refused on purpose, for safety."""


class StoreError(RAGAnythingError, RuntimeError):
    """Raised when the vector store refused or failed an operation."""


class StoreLockedError(StoreError):
    """Raised when another process already holds the Milvus Lite directory."""


class StoreUnavailableError(StoreError):
    """Raised when the Milvus server or directory cannot be reached or written."""


class SchemaMismatchError(StoreError):
    """Raised when a stored collection has another schema or dimension than asked for."""


class SQLError(StoreError):
    """Raised when SQL on tables could not be run."""


class SQLRefusedError(SQLError):
    """Raised for SQL that is not one read-only query of tables."""


class UnknownTableError(SQLError):
    """Raised for SQL that names a table which is not there."""


class SQLLimitError(SQLError):
    """Raised when SQL took too long or too much memory and was stopped."""


class FilterError(RAGAnythingError, ValueError):
    """Raised when a metadata filter cannot be expressed safely."""


class NodeValueError(RAGAnythingError, ValueError):
    """Raised when a node holds something that no Milvus can store."""


class EnrichmentError(RAGAnythingError, RuntimeError):
    """Raised when a processor could not make use of what a model answered about an element."""


class NoAnswerError(EnrichmentError):
    """Raised when a model gave no answer about an element; the next run asks it again."""


class IngestionError(RAGAnythingError, RuntimeError):
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
