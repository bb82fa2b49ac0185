"""The errors that DashScope documents, and the bodies in which its protocols tell them. Pure.

The native protocol answers ``{"code", "message", "request_id"}``, the OpenAI-compatible one
``{"error": {"code", "message", "param", "type"}, "request_id"}``.
Codes: https://www.alibabacloud.com/help/en/model-studio/error-code; messages are those seen in public bug reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_ALGORITHM: Final = "<400> InternalError.Algo.InvalidParameter: "


@dataclass(frozen=True, slots=True)
class DocumentedError:
    """An error that the service documents.

    Attributes:
        status: HTTP status.
        code: Code of the native protocol.
        compatible_code: Code of the OpenAI-compatible protocol.
        compatible_type: Type of the OpenAI-compatible protocol.
        message: What it says.
    """

    status: int
    code: str
    compatible_code: str
    compatible_type: str
    message: str


_INVALID: Final = "invalid_request_error"
_ERRORS: Final = (
    DocumentedError(400, "InvalidParameter", "invalid_parameter_error", _INVALID, "A parameter is invalid."),
    DocumentedError(
        400,
        "BadRequest.EmptyInput",
        "invalid_parameter_error",
        _INVALID,
        "Required input parameter missing from request.",
    ),
    DocumentedError(
        400,
        "BadRequest.EmptyModel",
        "invalid_parameter_error",
        _INVALID,
        'Required parameter "model" missing or invalid, please check the request parameters.',
    ),
    DocumentedError(
        400,
        "BadRequest.EmptyParameters",
        "invalid_parameter_error",
        _INVALID,
        'Required parameter "parameters" missing or invalid, please check the request parameters.',
    ),
    DocumentedError(
        400,
        "InvalidURL",
        "invalid_parameter_error",
        _INVALID,
        "The provided URL does not appear to be valid. Ensure it is correctly formatted.",
    ),
    DocumentedError(
        400,
        "DataInspectionFailed",
        "data_inspection_failed",
        "data_inspection_failed",
        "Input data may contain inappropriate content.",
    ),
    DocumentedError(
        400, "Arrearage", "Arrearage", "Arrearage", "Access denied, please make sure your account is in good standing."
    ),
    DocumentedError(
        400, "UnsupportedOperation", "unsupported_operation", _INVALID, "The operation is unsupported on the object."
    ),
    DocumentedError(401, "InvalidApiKey", "invalid_api_key", _INVALID, "Invalid API-key provided."),
    DocumentedError(403, "AccessDenied", "access_denied", "access_denied", "Access denied."),
    DocumentedError(403, "Model.AccessDenied", "model_access_denied", _INVALID, "Model access denied."),
    DocumentedError(
        403,
        "AllocationQuota.FreeTierOnly",
        "AllocationQuota.FreeTierOnly",
        "AllocationQuota.FreeTierOnly",
        "The free tier of the model has been exhausted. If you wish to continue access the model on a paid basis, "
        'please disable the "use free tier only" mode in the management console.',
    ),
    DocumentedError(404, "ModelNotFound", "model_not_found", _INVALID, "Model can not be found."),
    DocumentedError(404, "WorkSpaceNotFound", "workspace_not_found", _INVALID, "WorkSpace can not be found."),
    DocumentedError(
        408, "RequestTimeOut", "request_timeout", "request_timeout", "Request timed out, please try again later."
    ),
    DocumentedError(429, "Throttling", "limit_requests", "limit_requests", "Requests throttling triggered."),
    DocumentedError(
        429,
        "Throttling.RateQuota",
        "limit_requests",
        "limit_requests",
        "Requests rate limit exceeded, please try again later.",
    ),
    DocumentedError(
        429,
        "Throttling.BurstRate",
        "limit_burst_rate",
        "limit_burst_rate",
        "Request rate increased too quickly. To ensure system stability, please adjust your client logic to scale "
        "requests more smoothly over time.",
    ),
    DocumentedError(
        429,
        "Throttling.AllocationQuota",
        "insufficient_quota",
        "insufficient_quota",
        "Allocated quota exceeded, please increase your quota limit.",
    ),
    DocumentedError(
        500,
        "InternalError",
        "internal_error",
        "internal_error",
        "An internal error has occured, please try again later or contact service support.",
    ),
    DocumentedError(
        500,
        "InternalError.Timeout",
        "internal_error",
        "internal_error",
        "An internal timeout error has occured during execution, please try again later or contact service support.",
    ),
    DocumentedError(
        500,
        "SystemError",
        "internal_error",
        "internal_error",
        "An system error has occured, please try again later.",
    ),
    DocumentedError(
        500,
        "ModelServiceFailed",
        "internal_error",
        "internal_error",
        "Failed to request model service.",
    ),
    DocumentedError(
        503,
        "ModelUnavailable",
        "service_unavailable",
        "service_unavailable",
        "Model is unavailable, please try again later.",
    ),
)

DOCUMENTED_ERRORS: Final[Mapping[str, DocumentedError]] = {error.code: error for error in _ERRORS}
"""The documented errors by their native code."""


class Refusal(Exception):  # noqa: N818  # not a failure of the program: the service's answer to a request
    """What the service answers to a request that it does not take.

    Args:
        message: What is wrong.
        code: Native code, one of ``DOCUMENTED_ERRORS``.
        status: HTTP status; None for that of the code.
        compatible_code: Code for the compatible protocol; None for that of the code.
    """

    def __init__(
        self,
        message: str,
        code: str = "InvalidParameter",
        status: int | None = None,
        compatible_code: str | None = None,
    ) -> None:
        super().__init__(message)
        known = DOCUMENTED_ERRORS[code]
        self.message = message
        self.code = code
        self.status = status or known.status
        self.compatible_code = compatible_code or known.compatible_code
        self.compatible_type = known.compatible_type


def algorithm_refusal(message: str) -> Refusal:
    """Return the refusal of a model, in contrast to one of the gateway.

    Args:
        message: What is wrong.
    """
    return Refusal(_ALGORITHM + message)


def wrong_route() -> Refusal:
    """Return the refusal of a model or path that the native route does not know."""
    page = "https://help.aliyun.com/zh/model-studio/error-code"
    return Refusal(f"url error, please check url！ For details, see: {page}#error-url")


def native_error(code: str, message: str, request_id: str) -> dict[str, Any]:
    """Return the body of an error in the native protocol.

    Args:
        code: The code.
        message: What happened.
        request_id: The request's id.
    """
    return {"code": code, "message": message, "request_id": request_id}


def compatible_error(code: str, kind: str, message: str, request_id: str) -> dict[str, Any]:
    """Return the body of an error in the OpenAI-compatible protocol.

    Args:
        code: The code.
        kind: The type.
        message: What happened.
        request_id: The request's id.
    """
    error = {"message": message, "type": kind, "param": None, "code": code}
    return {"error": error, "id": f"chatcmpl-{request_id}", "request_id": request_id}
