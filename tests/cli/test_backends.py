from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from loki_storage.cli import backends
from loki_storage.plugins import Installed


def test_installed_backends_are_listed(run: Callable[..., Result], read: Any) -> None:
    found = {backend["name"]: backend for backend in read("backends")["backends"]}
    assert {"memory", "sqlite"} <= found.keys()
    assert found["sqlite"]["distribution"] == "loki-storage"
    assert found["sqlite"]["error"] is None
    assert "sqlite" in run("backends").stdout


def test_broken_backend_is_shown_with_its_error(
    run: Callable[..., Result], read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Installed("mongo", "loki-mongo", "1.0", None, "cannot be imported (ImportError)")
    monkeypatch.setattr(backends, "installed", lambda: [broken])
    assert read("backends")["backends"][0]["error"] == broken.error
    text = run("backends").stdout
    assert "loki-mongo" in text
    assert "cannot be imported" in text
