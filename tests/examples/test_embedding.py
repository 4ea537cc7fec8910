"""The hosts under ``examples/embedding``, on SQLite and PostgreSQL; configuration alone differs."""

import asyncio
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen
from wsgiref.simple_server import make_server
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import httpx
import pytest

from examples.embedding import fastapi_app, flask_app, interceptor_service
from loki_storage import open_storage
from loki_storage.samples import open_intercepts
from tests.postgresql.shared import store_url, versions

ROOT = Path(__file__).resolve().parents[2]
POSTGRESQL = pytest.param("postgresql", marks=pytest.mark.postgresql)
Call = Callable[..., tuple[int, Any]]


@pytest.fixture(params=["sqlite", POSTGRESQL])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The store's URL, which stands in the environment and nowhere else."""
    monkeypatch.chdir(tmp_path)
    server = request.param == "postgresql"
    url = store_url(versions()[0]) if server else f"sqlite:///{tmp_path}/loki.db"
    monkeypatch.setenv("LOKI_STORAGE_URL", url)
    return url


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    with open_intercepts() as samples:
        return [json.loads(line) for line in samples][:4]


# --- The interceptor's service --------------------------------------------------------------------


@pytest.fixture
def call(url: str) -> Iterator[Call]:
    """``call(method, path, body, **headers)``: the service's status and answer, through WSGI."""
    service = interceptor_service.create()
    checked = validator(service)

    def called(method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "SCRIPT_NAME": "",
            "QUERY_STRING": "",
            "CONTENT_LENGTH": str(len(content)),
            "wsgi.input": io.BytesIO(content),
            **headers,
        }
        setup_testing_defaults(environ)
        told: list[str] = []

        def start(status: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], object]:
            told.append(status)
            return lambda data: None

        answer = checked(environ, start)
        try:
            return int(told[0].split()[0]), json.loads(b"".join(answer))
        finally:
            answer.close()  # type: ignore[attr-defined]

    yield called
    service.storage.close()


def test_report_is_recorded_once_and_read_back_as_it_came(
    call: Call, lines: list[dict[str, Any]], url: str
) -> None:
    for line in lines:
        status, first = call("POST", "/intercepts", line, HTTP_X_ACTOR="gateway")
        assert (status, first["replayed"]) == (201, False)
        status, again = call("POST", "/intercepts", line)
        assert (status, again) == (200, {**first, "replayed": True})
        status, stored = call("GET", f"/intercepts/{first['validation_id']}")
        assert (status, stored["report"]) == (200, line["report"])
        assert stored["corrections"] == line.get("corrections")
    with open_storage(url) as storage, storage.session() as session:
        assert session.validations.count() == len(lines)
        assert {entry.actor_id for entry in session.audit.get_all()} == {"gateway"}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/intercepts", b"no JSON", 422),
        ("POST", "/intercepts", [], 422),
        ("POST", "/intercepts", {"document": "x"}, 422),
        ("GET", "/intercepts/999999", None, 404),
        ("GET", "/elsewhere", None, 404),
        ("POST", "/intercepts/1", {}, 404),
    ],
)
def test_bad_request_is_an_answer_and_nothing_is_stored(
    call: Call, url: str, method: str, path: str, body: Any, status: int
) -> None:
    found, answer = call(method, path, body)
    assert found == status
    assert answer["error"]
    with open_storage(url) as storage:
        assert list(storage.dump()) == []


def test_health_is_an_answer(call: Call) -> None:
    status, problems = call("GET", "/health")
    # The test's PostgreSQL server runs without fsync, and that is told.
    assert (status, set(problems)) in [(200, set()), (503, {"durability"})]


def test_service_answers_over_http_to_many_at_once(url: str, lines: list[dict[str, Any]]) -> None:
    service = interceptor_service.create()
    server = make_server("127.0.0.1", 0, service, interceptor_service.Server)
    with service.storage, server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        place = f"http://127.0.0.1:{server.server_port}/intercepts"
        statuses: list[int] = []

        def send(line: dict[str, Any]) -> None:
            with urlopen(Request(place, json.dumps(line).encode(), method="POST")) as answer:
                statuses.append(answer.status)

        senders = [threading.Thread(target=send, args=(line,)) for line in lines * 2]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        server.shutdown()
        thread.join()
    assert sorted(statuses) == [200] * len(lines) + [201] * len(lines)


# --- FastAPI --------------------------------------------------------------------------------------


def with_client(test: Callable[[httpx.AsyncClient], Any]) -> None:
    """Run a test against the FastAPI application, in its lifespan."""

    async def main() -> None:
        app = fastapi_app.create_app()
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://host") as client,
        ):
            await test(client)

    asyncio.run(main())


def test_fastapi_creates_reads_and_streams(url: str) -> None:
    async def test(client: httpx.AsyncClient) -> None:
        made = []
        for n in range(3):
            body = {"content": f"text {n}", "title": f"t{n}"}
            answer = await client.post("/documents", json=body, headers={"X-Actor": "alice"})
            assert answer.status_code == 201
            made.append(answer.json())
        one = await client.get(f"/documents/{made[1]['id']}")
        assert one.json() == made[1]
        listed = await client.get("/documents")
        assert [json.loads(line) for line in listed.text.splitlines()] == made

    with_client(test)
    with open_storage(url) as storage, storage.session() as session:
        assert {entry.actor_id for entry in session.audit.get_all()} == {"alice"}


def test_fastapi_tells_errors_by_status(url: str) -> None:
    async def test(client: httpx.AsyncClient) -> None:
        assert (await client.get("/documents/99")).status_code == 404
        assert (await client.post("/documents", json={})).status_code == 422
        for status in (201, 409):
            answer = await client.post("/documents", json={"content": "twice"})
            assert answer.status_code == status

    with_client(test)


# --- Flask ----------------------------------------------------------------------------------------


def test_flask_creates_reads_and_tells(url: str) -> None:
    app = flask_app.create_app()
    client = app.test_client()
    made = client.post(
        "/documents", json={"content": "x", "title": "Jane"}, headers={"X-Actor": "alice"}
    )
    assert made.status_code == 201
    id = made.get_json()["id"]
    assert client.get(f"/documents/{id}").get_json() == made.get_json()
    history = client.get(f"/documents/{id}/history").get_json()
    assert [(entry["action"], entry["by"]) for entry in history] == [("create", "alice")]
    assert "Jane" not in str(history)
    assert client.get("/documents/99").status_code == 404
    assert client.post("/documents", json={}).status_code == 422
    assert client.post("/documents", json={"content": "x"}).status_code == 409
    app.extensions["loki_storage"].close()


# --- A host's own tests ---------------------------------------------------------------------------


def test_fixture_for_hosts_works_as_it_stands() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir=."]
    ran = subprocess.run(
        [*command, "-c", os.devnull, "."],
        cwd=ROOT / "examples" / "embedding" / "host_tests",
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    assert "4 passed" in ran.stdout
