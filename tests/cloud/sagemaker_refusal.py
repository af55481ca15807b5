"""How the SageMaker on loopback says no."""

import json
from typing import Any

from werkzeug import Response


class Refusal(Exception):
    """An error that a client is to see.

    Args:
        code: E.g. "ValidationException".
        message: Its text.
        answer: What to answer instead, if that is known already.
    """

    def __init__(self, code: str, message: str, answer: Response | None = None, status: int = 400, **more: Any) -> None:
        super().__init__(message)
        self._code, self._status, self._answer = code, status, answer
        self._content = {"__type": code, "message": message, "Message": message, **more}

    def response(self) -> Response:
        if self._answer is not None:
            return self._answer
        body = json.dumps(self._content)
        return Response(body, self._status, {"x-amzn-errortype": self._code}, content_type="application/json")
