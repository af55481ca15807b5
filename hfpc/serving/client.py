"""Asking a server over HTTP: ours, or another that takes the Hub's form of requests."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hfpc.errors import EndpointError

if TYPE_CHECKING:
    import httpx

INPUTS_PER_REQUEST = 32
"""Inputs sent at once; servers limit them."""

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Client:
    """Keeps a connection to one server.

    Args:
        url: Where the server answers, `http://` or `https://`.
        timeout: Seconds to wait for an answer.
    """

    def __init__(self, url: str, timeout: float = 60.0) -> None:
        import httpx

        self.url = url
        # A proxy of the environment could not reach this machine.
        own = urlsplit(url).hostname in _LOOPBACK
        self._http = httpx.Client(base_url=url, timeout=timeout, trust_env=not own)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def ask(self, inputs: Sequence[Any], parameters: Mapping[str, Any] | None = None) -> list[Any]:
        """A response for each input.

        Raises:
            EndpointError: The server cannot be reached, refused, or answered in another form.
        """
        responses: list[Any] = []
        for first in range(0, len(inputs), INPUTS_PER_REQUEST):
            part = list(inputs[first : first + INPUTS_PER_REQUEST])
            answer = self._answer("POST", {"inputs": part, "parameters": dict(parameters or {})})
            if not isinstance(answer, list) or len(answer) != len(part):
                raise EndpointError(f"{self.url} did not give a list with one response for each of {len(part)} inputs")
            responses += answer
        return responses

    def describe(self) -> dict[str, Any]:
        """What the server says it serves: `model`, `version`, `task` and `fingerprint`.

        Raises:
            EndpointError: The server cannot be reached, is not warm, or is not one of ours.
        """
        answer = self._answer("GET")
        if not isinstance(answer, dict) or "fingerprint" not in answer:
            raise EndpointError(f"{self.url} is not a server of hfpc")
        return answer

    def _answer(self, method: str, content: Any = None) -> Any:
        import httpx

        try:
            response = self._http.request(method, "", json=content)
            answer = response.json()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise EndpointError(f"{self.url} does not answer: {error or type(error).__name__}") from error
        except ValueError as error:
            raise EndpointError(f"{self.url} answered {response.status_code}, not in JSON") from error
        if response.is_error:
            raise EndpointError(f"{self.url} answered {response.status_code}: {_message(response, answer)}")
        return answer


def _message(response: "httpx.Response", answer: Any) -> str:
    return str(answer["error"]) if isinstance(answer, dict) and "error" in answer else response.reason_phrase
