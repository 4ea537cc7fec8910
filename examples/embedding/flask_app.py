"""Flask on loki-storage: ``flask --app flask_app run``."""

from typing import Any

from flask import Blueprint, Flask, current_app, request

from loki_storage import (
    Actor,
    Conflict,
    Document,
    Forbidden,
    InvalidField,
    InvalidValue,
    NotFound,
    Session,
    Storage,
    StorageError,
    open_storage,
)

STATUSES: tuple[tuple[type[StorageError], int], ...] = (
    (NotFound, 404),
    (InvalidValue, 422),
    (InvalidField, 422),
    (Forbidden, 403),
    (Conflict, 409),
    (StorageError, 503),
)
documents = Blueprint("documents", __name__, url_prefix="/documents")


def create_app(url: str | None = None) -> Flask:
    """The application; one storage for all of its threads, opened once per process."""
    app = Flask(__name__)
    app.extensions["loki_storage"] = open_storage(url)
    app.register_blueprint(documents)
    app.register_error_handler(StorageError, told)
    return app


def storage() -> Storage:
    """The application's storage."""
    opened: Storage = current_app.extensions["loki_storage"]
    return opened


def actor() -> Actor:
    """Who acts, for the audit trail; a real host takes it from its own authentication."""
    return Actor(
        request.headers.get("X-Actor", "anonymous"),
        "user",
        ip_address=request.remote_addr,
        user_agent=request.user_agent.string[:500] or None,
    )


@documents.post("")
def create_document() -> tuple[dict[str, Any], int]:
    """One unit of work; it runs again where another writer was first."""
    body = request.get_json()

    def unit(session: Session) -> Document:
        return session.documents.create_document(
            body.get("content"),
            body.get("document_type", "general"),
            body.get("client_id", "web"),
            title=body.get("title"),
        )

    return shown(storage().run(unit, actor=actor())), 201


@documents.get("/<int:id>")
def get_document(id: int) -> dict[str, Any]:
    """A document by its id."""
    with storage().session(read_only=True) as session:
        document = session.documents.get_by_id(id)
    if document is None:
        raise NotFound("document", id)
    return shown(document)


@documents.get("/<int:id>/history")
def get_history(id: int) -> list[dict[str, Any]]:
    """Who did what to it, newest first, for an auditor: without titles."""
    with storage().session(mask=("title",)) as session:
        entries = session.audit.get_by_document(id)
    return [
        {"action": entry.action, "by": entry.actor_id, "changes": entry.changes}
        for entry in entries
    ]


def told(error: StorageError) -> tuple[dict[str, str], int]:
    """An error as an answer: its message holds no stored value and no secret."""
    status = next(status for kind, status in STATUSES if isinstance(error, kind))
    return {"error": str(error)}, status


def shown(document: Document) -> dict[str, Any]:
    """What a caller may see of a document."""
    return {
        "id": document.id,
        "version": document.version,
        "title": document.title,
        "content": document.content,
    }
