"""A service that keeps what an interceptor sees and decides: reports come in over HTTP.

    $ loki-storage migrate up
    $ python interceptor_service.py 8080
    $ curl -X POST localhost:8080/intercepts -H 'X-Actor: gateway' -d @intercept.json

Which store it uses is configuration alone: ``LOKI_STORAGE_URL`` or ``loki-storage.toml``. It is a
WSGI application, so any WSGI server can run it: ``gunicorn interceptor_service:create``.
"""

import json
import sys
from collections.abc import Callable, Iterable
from functools import partial
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIServer, make_server

from loki_storage import (
    Actor,
    Forbidden,
    Intercept,
    InvalidField,
    InvalidValue,
    NotFound,
    RecordedIntercept,
    Session,
    Storage,
    StorageError,
    open_storage,
)

MOST_BYTES = 100_000_000
Answer = tuple[str, dict[str, Any]]

STATUSES: tuple[tuple[type[StorageError], str], ...] = (
    (InvalidValue, "422 Unprocessable Content"),
    (InvalidField, "422 Unprocessable Content"),
    (NotFound, "404 Not Found"),
    (Forbidden, "403 Forbidden"),
    (StorageError, "503 Service Unavailable"),
)
"""No error's message holds a stored value or a secret, so it can be told to the caller."""


class InterceptorService:
    """The application; one storage for all of its threads."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., object]
    ) -> Iterable[bytes]:
        try:
            status, answer = self.answer(environ)
        except StorageError as error:
            status = next(status for kind, status in STATUSES if isinstance(error, kind))
            answer = {"error": str(error), "retry": error.retryable}
        body = json.dumps(answer).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        start_response(status, headers)
        return [body]

    def answer(self, environ: dict[str, Any]) -> Answer:
        """What a request comes to."""
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "/").strip("/")
        place, _, id = path.partition("/")
        match method, place:
            case "POST", "intercepts" if not id:
                return self.record(_body(environ), _actor(environ))
            case "GET", "intercepts" if id.isdecimal():
                return self.report(int(id))
            case "GET", "health":
                health = self.storage.health()
                told = {check.name: check.told for check in health.problems}
                return ("200 OK" if health.ok else "503 Service Unavailable"), told
        return "404 Not Found", {"error": "there is nothing here"}

    def record(self, line: Any, actor: Actor) -> Answer:
        """One intercept, once: who sends it again is told of the first one."""
        intercept = Intercept.from_line(line)
        recorded = self.storage.run(partial(_record, intercept), actor=actor)
        told = {
            "document_id": recorded.document.id,
            "validation_id": recorded.validation.id,
            "version_id": None if recorded.version is None else recorded.version.id,
            "replayed": recorded.replayed,
        }
        return ("200 OK" if recorded.replayed else "201 Created"), told

    def report(self, validation_id: int) -> Answer:
        """The report as it came in."""
        with self.storage.session(read_only=True) as session:
            stored = session.get_intercept(validation_id)
        if stored is None:
            raise NotFound("validation", validation_id)
        return "200 OK", {"report": stored.to_report(), "corrections": stored.to_corrections()}


def create() -> InterceptorService:
    """The service on the store that the settings name."""
    return InterceptorService(open_storage())


def _record(intercept: Intercept, session: Session) -> RecordedIntercept:
    return session.record_intercept(intercept)


def _body(environ: dict[str, Any]) -> Any:
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length > MOST_BYTES:
        raise InvalidValue("body", "is too long")
    try:
        return json.loads(environ["wsgi.input"].read(length))
    except ValueError:
        raise InvalidValue("body", "is no JSON") from None


def _actor(environ: dict[str, Any]) -> Actor:
    """Who acts, for the audit trail: behind a gateway that has made sure of it."""
    return Actor(
        environ.get("HTTP_X_ACTOR") or "interceptor",
        "api",
        ip_address=environ.get("REMOTE_ADDR"),
        request_id=environ.get("HTTP_X_REQUEST_ID"),
    )


class Server(ThreadingMixIn, WSGIServer):
    """A thread per request; the storage is made for that."""

    daemon_threads = True


def main() -> None:
    """Serve until interrupted."""
    service = create()
    with service.storage, make_server("", int(sys.argv[1]), service, Server) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
