import pytest

from loki_storage.cli.invocation import Invocation
from loki_storage.configuration import safe_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///loki.db", "sqlite:///loki.db"),
        ("sqlite:////tmp/a:b@c/loki.db", "sqlite:////tmp/a:b@c/loki.db"),
        ("memory://name", "memory://name"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("postgresql://me:hunter2@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("postgresql://me:hunt@er/2@host/db", "postgresql://me:***@host/db"),
        ("postgresql://:hunter2@host/db", "postgresql://:***@host/db"),
        (
            "postgresql://host/db?sslpassword=hunter2&x=1",
            "postgresql://host/db?sslpassword=***&x=1",
        ),
        ("postgresql://host/db?PASSWORD=hunter2", "postgresql://host/db?PASSWORD=***"),
    ],
)
def test_password_is_not_shown(url: str, shown: str) -> None:
    assert safe_url(url) == shown


def test_repr_does_not_show_the_url() -> None:
    assert "hunter2" not in repr(Invocation("postgresql://me:hunter2@host/db"))


def test_command_names_the_same_store_and_tenant() -> None:
    assert Invocation().command("status") == "loki-storage status"
    command = Invocation("sqlite:///my files.db", tenant="acme").command("status")
    assert command == "loki-storage status --tenant acme --url 'sqlite:///my files.db'"
