"""FastAPI on loki-storage: ``uvicorn --factory fastapi_app:create_app``."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Request
from fastapi.responses import JSONResponse, StreamingResponse

from loki_storage import (
    Actor,
    AsyncStorage,
    Conflict,
    Document,
    Forbidden,
    InvalidField,
    InvalidValue,
    NotFound,
    Query,
    Session,
    StorageError,
)

STATUSES: tuple[tuple[type[StorageError], int], ...] = (
    (NotFound, 404),
    (InvalidValue, 422),
    (InvalidField, 422),
    (Forbidden, 403),
    (Conflict, 409),
    (StorageError, 503),
)


def create_app(url: str | None = None) -> FastAPI:
    """The application; its store is opened and closed with it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with await AsyncStorage.open(url) as storage:
            app.state.storage = storage
            yield

    app = FastAPI(lifespan=lifespan)
    app.add_exception_handler(StorageError, told)
    app.add_api_route("/documents", create_document, methods=["POST"], status_code=201)
    app.add_api_route("/documents", list_documents)
    app.add_api_route("/documents/{id}", get_document)
    return app


def storage_of(request: Request) -> AsyncStorage:
    """The application's storage."""
    storage: AsyncStorage = request.app.state.storage
    return storage


def actor_of(request: Request, x_actor: Annotated[str, Header()] = "anonymous") -> Actor:
    """Who acts, for the audit trail; a real host takes it from its own authentication."""
    return Actor(x_actor, "user", ip_address=request.client.host if request.client else None)


Store = Annotated[AsyncStorage, Depends(storage_of)]
Acting = Annotated[Actor, Depends(actor_of)]


async def create_document(body: dict[str, Any], storage: Store, actor: Acting) -> dict[str, Any]:
    """One unit of work in a worker thread; a caller who goes away leaves no half of it."""

    def unit(session: Session) -> Document:
        return session.documents.create_document(
            body.get("content"),  # type: ignore[arg-type]  # what is no text is refused below
            body.get("document_type", "general"),
            body.get("client_id", "web"),
            title=body.get("title"),
        )

    return shown(await storage.run(unit, actor=actor))


async def get_document(id: int, storage: Store) -> dict[str, Any]:
    """A document by its id."""
    document = await storage.run(lambda s: s.documents.get_by_id(id), read_only=True)
    if document is None:
        raise NotFound("document", id)
    return shown(document)


async def list_documents(storage: Store) -> StreamingResponse:
    """All documents as JSON lines, page by page with constant memory."""
    heads = await storage.run(
        lambda s: s.documents.query().latest_versions().build(), read_only=True
    )
    return StreamingResponse(lines(storage, heads), media_type="application/x-ndjson")


async def lines(storage: AsyncStorage, query: Query) -> AsyncIterator[str]:
    """The records of a query, a line each; a broken connection ends the stream, and frees it."""
    async for page in storage.stream(query, page_size=200):
        yield "".join(json.dumps(shown(document)) + "\n" for document in page)


async def told(request: Request, error: Exception) -> JSONResponse:
    """An error as an answer: its message holds no stored value and no secret."""
    status = next(status for kind, status in STATUSES if isinstance(error, kind))
    return JSONResponse({"error": str(error)}, status)


def shown(document: Document) -> dict[str, Any]:
    """What a caller may see of a document."""
    return {
        "id": document.id,
        "version": document.version,
        "title": document.title,
        "content": document.content,
        "created_at": document.created_at.isoformat(),
    }
