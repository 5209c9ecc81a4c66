"""Errors as the OpenAI API reports them: a status and one sentence, never a traceback."""

from __future__ import annotations

import os
from typing import Any

from memgpt_rag.errors import BusyError, MemgptRagError, MemoryFormatError, MismatchError, SourceError, first_line
from memgpt_rag.io.system_errors import machine_errno, machine_fault_behind

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    409: "conflict_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "service_unavailable_error",
    504: "timeout_error",
}
# Of libraries, by what the client can do about them.
_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (MemoryFormatError, 503),
    (BusyError, 409),
    (MismatchError, 400),
    (SourceError, 400),
    (MemgptRagError, 503),
    (ValueError, 400),
)


class ApiError(Exception):
    """A request that is not answered.

    Args:
        status: HTTP status code.
        message: a sentence.
        param: the parameter of the request that is at fault, such as "messages.0.content".
        code: a name for programs, such as "model_not_found".
        retry_after: seconds to wait before another try.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ):
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.retry_after = retry_after

    @property
    def body(self) -> dict[str, Any]:
        """Return the body of the response, in the form that OpenAI's clients read."""
        kind = _TYPES.get(self.status, "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers of the response."""
        headers = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        return {**headers, **({"www-authenticate": "Bearer"} if self.status == 401 else {})}


class ClientGoneError(Exception):
    """The client closed the connection before it had its answer."""


def api_error(error: BaseException, request_id: str = "") -> ApiError:
    """Return an error of the library as one of the API. What nobody expected is a 500 that tells nothing but its id."""
    if isinstance(error, ApiError):
        return error
    fault = error if isinstance(error, OSError | MemoryError) else machine_fault_behind(error)
    if fault is not None:
        # Neither a path of the server nor advice for who runs it is for the client.
        number = machine_errno(fault)
        reason = (getattr(fault, "strerror", None) or first_line(fault)) if number is None else os.strerror(number)
        return ApiError(503, f"The server's machine failed: {reason}; try again later, or tell who runs it.")
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return ApiError(status, str(error))
    where = f" under the request id {request_id}" if request_id else ""
    return ApiError(500, f"The server failed ({type(error).__name__}); its log has more{where}.")


def validation_error(details: list[dict[str, Any]]) -> ApiError:
    """Return what pydantic found wrong with a request, as one sentence about the first fault.

    Where a parameter may have several types, a fault of its value comes before a mismatch of its type.

    Args:
        details: of the faults; the place of each begins with the part of the request that it is in, such as "body".
    """
    same = [detail for detail in details if detail["loc"][:2] == details[0]["loc"][:2]]
    first = next((detail for detail in same if not detail["type"].endswith("_type")), details[0])
    # Names of types, such as "list[str]", stand between those of parameters.
    parts = [str(part) for part in first["loc"] if not set("[-") & set(str(part))]
    place = parts[1:] if parts[:1] and parts[0] in ("body", "query", "path", "form") else parts
    param = ".".join(place) or None
    reason = str(first["msg"]).removeprefix("Value error, ").rstrip(".")
    if first["type"] == "extra_forbidden":
        return ApiError(400, f"There is no parameter {param!r} here; leave it out.", param=param)
    if first["type"] == "missing":
        return ApiError(400, f"The parameter {param or 'body'!r} is missing; give it.", param=param)
    others = len(details) - 1
    more = f" ({others} more {'fault' if others == 1 else 'faults'})" if others else ""
    return ApiError(400, f"{param}: {reason}{more}." if param else f"{reason}{more}.", param=param)
