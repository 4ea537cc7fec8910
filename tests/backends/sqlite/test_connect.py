"""``connect=``: the host opens the file, with SQLCipher where it is to be encrypted.

Where there is no wheel of SQLCipher these tests are *not run*, and say so; on the platforms for
which ``pyproject.toml`` asks for it, its absence fails.
"""

import importlib
import importlib.util
import platform
import sqlite3
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from click.testing import CliRunner

from loki_storage import DocumentType, Session, Storage, open_storage
from loki_storage.cli.application import application
from loki_storage.errors import (
    Contention,
    Duplicate,
    DuplicateDocument,
    InvalidValue,
    LockTimeout,
    ReadOnly,
    StorageDamaged,
    StorageError,
    Unavailable,
)
from loki_storage.health import health_of
from loki_storage.unit_of_work import utc_now
from loki_storage_contract import BackendTarget, contract_suite
from loki_storage_contract.profiles import PROFILES

KEY, WRONG = "2a" * 32, "2b" * 32
SECRET = "Returns of 12% are guaranteed"
EXPECTED = sys.platform == "linux" and platform.machine() == "x86_64"
AVAILABLE = importlib.util.find_spec("sqlcipher3") is not None

encrypted = pytest.mark.skipif(
    not AVAILABLE and not EXPECTED, reason="not run: SQLCipher has no wheel for this platform"
)


def with_key(key: str, database: str, **options: Any) -> Any:
    """What a host writes."""
    dbapi2 = importlib.import_module("sqlcipher3.dbapi2")
    connection = dbapi2.connect(database, **options)
    # The key itself: deriving one from a password takes 0.1 s, at every connection.
    connection.execute(f"PRAGMA key = \"x'{key}'\"")
    return connection


open_encrypted = partial(with_key, KEY)
plain = sqlite3.connect


def create(session: Session, text: str = SECRET) -> Any:
    return session.documents.create_document(text, DocumentType.FINANCIAL, "acme", tags=["a"])


@pytest.fixture(params=[pytest.param("plain"), pytest.param("encrypted", marks=encrypted)])
def connect(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return sqlite3.connect if request.param == "plain" else open_encrypted


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'loki.db'}"


def open_it(url: str, connect: Any, **options: Any) -> Storage:
    return open_storage(url, connect=connect, busy_timeout=0.2, **options)


def test_store_works_through_it(url: str, connect: Any, tmp_path: Path) -> None:
    with open_it(url, connect) as storage:
        document = storage.run(create)
        with storage.session() as session:
            session.documents.create_version(document.id, "another text")
        before = list(storage.dump())
        assert (tmp_path / "loki.db").stat().st_mode & 0o777 == 0o600
    with open_it(url, connect, create=False) as storage:
        assert list(storage.dump()) == before
        assert not storage.health().problems
        assert not [c for c in storage.backend.checks(deep=True) if c.status == "problem"]


def test_conflicts_are_told_as_always(url: str, connect: Any) -> None:
    """Drivers give error codes in more or less detail."""
    with open_it(url, connect) as storage:
        first, second = storage.session(), storage.session()
        create(first)
        create(second)
        first.commit()
        with pytest.raises(DuplicateDocument):
            second.commit()
        with storage.session() as session, pytest.raises(Duplicate):
            session.tags.create("a")


def test_writers_wait_for_each_other(url: str, connect: Any) -> None:
    with open_storage(url, connect=connect, synchronous="NORMAL") as storage:

        def work(n: int) -> None:
            for m in range(5):
                storage.run(partial(create, text=f"text {n} {m}"))

        threads = [Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with storage.session() as session:
            assert session.documents.count() == 20


def test_lock_that_is_held_is_a_lock_timeout(url: str, connect: Any, tmp_path: Path) -> None:
    with open_it(url, connect) as storage:
        storage.run(create)
        other = connect(str(tmp_path / "loki.db"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Contention) as caught:
            storage.run(partial(create, text="another"), timeout=0.5)
        assert isinstance(caught.value.__cause__, LockTimeout)
        other.close()


def test_every_connection_is_made_by_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Migrations and the engine included: nothing opens the file behind the host's back."""
    real: Any = sqlite3.connect
    made: list[str] = []

    def counting(database: str, **options: Any) -> Any:
        made.append(database)
        return real(database, **options)

    monkeypatch.setattr(sqlite3, "connect", forbidden)
    with open_it(url, counting) as storage:
        migrating = len(made)
        assert migrating
        storage.run(create)
        streams = [iter(storage.dump()) for _ in range(3)]
        assert all(next(stream) for stream in streams)
        storage.backend.engine(pool_size=2).connect().close()
    assert len(made) >= migrating + 3


def forbidden(*args: Any, **options: Any) -> Any:
    raise AssertionError("opened behind the host's back")


def test_settings_name_it_as_module_and_function(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "acme_keys.py").write_text("import sqlite3\nconnect = sqlite3.connect\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("LOKI_STORAGE_CONNECT", "acme_keys:connect")
    with open_storage(url) as storage:
        storage.run(create)
    for wrong in ("acme_keys:nothing", "no_such_module:connect", "acme_keys", ":", "acme_keys:"):
        with pytest.raises(InvalidValue, match="connect"):
            open_storage(url, connect=wrong)
    with pytest.raises(InvalidValue, match="connect"):
        open_storage(url, connect=3)


def test_what_it_raises_is_told_without_its_words(url: str) -> None:
    def failing(database: str, **options: Any) -> Any:
        raise RuntimeError(f"the key is {KEY}")

    def refusing(database: str, **options: Any) -> Any:
        raise ReadOnly("the vault is sealed")

    with pytest.raises(Unavailable, match=r"connect= function failed \(RuntimeError\)") as caught:
        open_storage(url, connect=failing)
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None
    with pytest.raises(ReadOnly, match="sealed"):
        open_storage(url, connect=refusing)


# --- Encrypted ------------------------------------------------------------------------------------


@encrypted
def test_sqlcipher_is_there_where_it_is_asked_for() -> None:
    assert AVAILABLE, "sqlcipher3 is in the dev extra of this platform: run python3 dev.py lint"


@encrypted
def test_nothing_on_the_disk_can_be_read(url: str, tmp_path: Path) -> None:
    with open_it(url, open_encrypted) as storage:
        storage.run(create)
        for path in tmp_path.iterdir():
            content = path.read_bytes()
            assert SECRET.encode() not in content, path.name
            assert b"SQLite format 3" not in content, path.name
            assert b"documents" not in content, path.name
    with open_storage(f"{url}.plain") as storage:
        storage.run(create)
    assert SECRET.encode() in (tmp_path / "loki.db.plain").read_bytes()


@encrypted
@pytest.mark.parametrize("connect", [partial(with_key, WRONG), plain], ids=["wrong", "none"])
def test_wrong_key_opens_nothing_and_harms_nothing(url: str, connect: Any) -> None:
    with open_it(url, open_encrypted) as storage:
        storage.run(create)
        before = list(storage.dump())
    with pytest.raises(StorageDamaged, match="not a SQLite database"):
        open_it(url, connect)
    with open_it(url, open_encrypted) as storage:
        assert list(storage.dump()) == before


@encrypted
def test_health_tells_the_version_of_its_library(url: str) -> None:
    with open_it(url, open_encrypted) as storage:
        dbapi2 = importlib.import_module("sqlcipher3.dbapi2")
        health = health_of(storage.backend, storage.name, utc_now)
        (library,) = [check for check in health.checks if check.name == "library"]
        assert dbapi2.sqlite_version in library.told
        assert dbapi2.sqlite_version in storage.backend.database_version()


@encrypted
def test_failed_unit_of_work_leaves_nothing(url: str) -> None:
    with open_it(url, open_encrypted) as storage:

        def failing(session: Session) -> None:
            create(session)
            raise KeyError

        with pytest.raises(KeyError):
            storage.run(failing)
        assert list(storage.dump()) == []
        with pytest.raises(StorageError):
            storage.migrate("no such revision")


COMMANDS = (
    "migrate status",
    "migrate check",
    "migrate up",
    "status",
    "doctor",
    "documents list",
    "export documents -o -",
)


@encrypted
@pytest.mark.parametrize("words", COMMANDS)
def test_commands_open_an_encrypted_store_by_the_settings(
    url: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_it(url, open_encrypted) as storage:
        storage.run(create)
    monkeypatch.setenv("LOKI_STORAGE_URL", url)
    assert CliRunner().invoke(application, words.split()).exit_code in (1, 2)
    monkeypatch.setenv("LOKI_STORAGE_CONNECT", f"{__name__}:open_encrypted")
    result = CliRunner().invoke(application, words.split(), catch_exceptions=False)
    assert result.exit_code == 0, result.output


@encrypted
def test_encrypted_store_is_made_and_migrated_by_commands(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LOKI_STORAGE_URL", url)
    monkeypatch.setenv("LOKI_STORAGE_CONNECT", f"{__name__}:open_encrypted")
    for words in ("migrate up 0001", "migrate up", "documents list"):
        result = CliRunner().invoke(application, words.split(), catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert b"SQLite format 3" not in (tmp_path / "loki.db").read_bytes()[:100]
    with pytest.raises(StorageDamaged):
        open_it(url, plain)


def open_for_contract(folder: str) -> Any:
    from loki_storage_contract.target import open_url

    options: dict[str, Any] = {"connect": open_encrypted, "synchronous": "NORMAL"}
    return open_url(f"sqlite:///{folder}/loki.db", **options)


if AVAILABLE:
    import atexit
    import shutil
    import tempfile

    _folder = tempfile.mkdtemp("", "loki-encrypted-")
    atexit.register(shutil.rmtree, _folder, ignore_errors=True)
    _target = BackendTarget("sqlcipher", partial(open_for_contract, _folder), durable=True)
    _laws = contract_suite(_target, PROFILES["smoke"])
    # What a driver can do otherwise is in the laws of batches; all of them passed once (docs).
    globals().update({name: law for name, law in _laws.items() if name.startswith("test_bat")})
