"""Resource names as Vertex AI has them: it takes a project's id or its number, and answers with the number."""

import re
from typing import Any

from tests.cloud.google_fixtures import PROJECT, PROJECT_NUMBER

_OF_PROJECT = re.compile(f"projects/{PROJECT}(?=/locations/)")


def numbered(name: str) -> str:
    """A resource's name with the project's number."""
    return re.sub(rf"\A{_OF_PROJECT.pattern}", f"projects/{PROJECT_NUMBER}", name)


def numbered_request(request: Any) -> Any:
    """A request, changed to name resources by the project's number: which it asks for, and which it is to change.

    What lies deeper, as a key for encryption or a pipeline's own parameters, stays as it was given.
    """
    message = request._pb
    for field, value in [(None, message), *message.ListFields()]:
        if field is None or (field.message_type and not field.is_repeated):
            _number(value)
    return request


def _number(message: Any) -> None:
    for field, value in message.ListFields():
        if field.type != field.TYPE_STRING:
            continue
        if field.is_repeated:
            value[:] = [numbered(each) for each in value]
        else:
            setattr(message, field.name, numbered(value))


class Objects(dict[str, Any]):
    """Resource name to resource, looked up by id or number of the project, and listed by its number."""

    def __getitem__(self, name: str) -> Any:
        return super().__getitem__(numbered(name))

    def __setitem__(self, name: str, item: Any) -> None:
        super().__setitem__(numbered(name), item)

    def __delitem__(self, name: str) -> None:
        super().__delitem__(numbered(name))

    def __contains__(self, name: object) -> bool:
        return super().__contains__(numbered(str(name)))
