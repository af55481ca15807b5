"""Answers of SageMaker that are behind: reads do not see at once what was written before.

Amazon documents it of `CreateEndpoint`: it may not find a configuration that was just made, and is to be repeated.
"""

import copy
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.cloud.sagemaker_refusal import Refusal

Content = dict[str, Any]
LISTS = {"ListEndpoints": "Endpoints", "ListEndpointConfigs": "EndpointConfigs", "ListModels": "Models"}
WRITES = {
    "CreateEndpoint": "ListEndpoints",
    "UpdateEndpoint": "ListEndpoints",
    "DeleteEndpoint": "ListEndpoints",
    "CreateEndpointConfig": "ListEndpointConfigs",
    "DeleteEndpointConfig": "ListEndpointConfigs",
    "CreateModel": "ListModels",
    "DeleteModel": "ListModels",
}


class Lag:
    """What the answers of SageMaker are behind by.

    Attributes:
        answers: How many answers after a write are as before it: of each list, of each description of an endpoint,
            and of what a request names.
        stale: How many answers were behind.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forgets everything."""
        self.answers = self.stale = 0
        self._known: dict[str, Content | None] = {}
        self._behind: Counter[str] = Counter()

    def answer(self, method: str, body: Content, now: Callable[[], Content]) -> Content:
        """What a call is answered: `now` tells what it would be without a lag."""
        if not self.answers:
            return now()
        if method in LISTS:
            return self._read(f"{method} {json.dumps(body, sort_keys=True)}", now, {LISTS[method]: []})
        if method == "DescribeEndpoint":
            return self._read(f"endpoint {body['EndpointName']}", now, None)
        if method in WRITES:
            self._refuse_unseen(method, body)
            given = now()
            self._written(method, body)
            return given
        return now()

    def _read(self, key: str, now: Callable[[], Content], before: Content | None) -> Content:
        if self._behind[key] > 0:
            self._behind[key] -= 1
            self.stale += 1
            known = self._known.get(key, before)
            if known is None:
                raise Refusal("ValidationException", f'Could not find "{key}".')
            return copy.deepcopy(known)
        self._known[key] = before
        self._known[key] = now()
        return copy.deepcopy(self._known[key] or {})

    def _written(self, method: str, body: Content) -> None:
        for key in self._known:
            if key.startswith(f"{WRITES[method]} "):
                self._behind[key] = self.answers
        if "EndpointName" in body:
            self._behind[f"endpoint {body['EndpointName']}"] = self.answers
        if method == "CreateEndpointConfig":
            self._behind[f"config {body['EndpointConfigName']}"] = self.answers
        if method == "CreateModel":
            self._behind[f"model {body['ModelName']}"] = self.answers

    def _refuse_unseen(self, method: str, body: Content) -> None:
        """Refuses what names something that was just made."""
        named = []
        if method == "CreateEndpointConfig":
            named = [f"model {variant['ModelName']}" for variant in body["ProductionVariants"]]
        elif method in ("CreateEndpoint", "UpdateEndpoint"):
            named = [f"config {body['EndpointConfigName']}"]
        for key in named:
            if self._behind[key] > 0:
                self._behind[key] -= 1
                self.stale += 1
                raise Refusal("ValidationException", f'Could not find "{key}".')
