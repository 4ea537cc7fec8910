"""Plugins as users have them: distributions on the path, with entry points of their own (PLG-1)."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loki_storage import BackendSpec, open_storage, register_backend
from loki_storage.errors import PluginError
from loki_storage.memory import open_memory
from loki_storage.plugins import find_backend, installed, plugin_manager
from loki_storage.protocol import PROTOCOL_VERSION

Install = Callable[..., None]

GOOD = """
from loki_storage import BackendSpec, hookimpl
from loki_storage.memory import open_memory

@hookimpl
def loki_register_backends():
    return [BackendSpec({name!r}, open_memory, creates=True, protocol_version={version!r})]
"""
HOOK = "from loki_storage import hookimpl\n@hookimpl\ndef loki_register_backends"
BROKEN = "raise RuntimeError('broken for a reason')"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """``install(distribution, backend, code)`` makes a distribution that offers a backend."""
    before = set(sys.modules)

    def make(distribution: str, backend: str, code: str = GOOD, version: str = "1.0") -> None:
        module = distribution.replace("-", "_")
        site = tmp_path / distribution
        info = site / f"{module}-2.5.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 2.5\n"
        )
        (info / "entry_points.txt").write_text(f"[loki_storage]\n{backend} = {module}\n")
        text = code.replace("{name!r}", repr(backend)).replace("{version!r}", repr(version))
        (site / f"{module}.py").write_text(text)
        monkeypatch.syspath_prepend(str(site))

    yield make
    for name in set(sys.modules) - before:
        del sys.modules[name]


def refusal(url: str) -> str:
    with pytest.raises(PluginError) as caught:
        open_storage(url)
    return str(caught.value)


def test_an_installed_backend_opens_by_its_scheme(install):
    install("acme-loki", "acme")
    with open_storage("acme://x") as storage, storage.session() as session:
        session.documents.create_document("text", "email", "client")
    assert storage.name == "acme"


def test_a_driver_in_the_scheme_is_left_to_the_backend(install):
    install("acme-loki", "acme")
    with open_storage("ACME+driver://x") as storage:
        assert storage.name == "acme"


def test_an_unknown_name_lists_what_is_installed_and_what_to_do():
    message = refusal("nosuch://x")
    assert "'nosuch'" in message
    assert "memory" in message
    assert "sqlite" in message
    assert "install its plugin" in message


def test_two_distributions_with_one_name_are_refused_naming_both(install):
    install("acme-loki", "acme")
    install("other-loki", "acme")
    message = refusal("acme://x")
    assert "acme-loki" in message
    assert "other-loki" in message
    assert not {"acme_loki", "other_loki"} & sys.modules.keys()


def test_a_broken_import_is_told_with_its_distribution(install):
    install("acme-loki", "acme", BROKEN)
    message = refusal("acme://x")
    assert "acme-loki" in message
    assert "RuntimeError" in message


@pytest.mark.parametrize(
    "code",
    [
        "import no_such_module_at_all",
        "def",  # no Python
        f"{HOOK}(): return 1/0",
        f"{HOOK}(no_such): return []",
        f"{HOOK}(): return 5",
        f"{HOOK}(): return ['acme']",
        f"{HOOK}(): return []",
        f"{HOOK}(): return None",
        "",
    ],
)
def test_a_plugin_broken_in_any_way_is_a_plugin_error(install, code):
    install("acme-loki", "acme", code)
    assert "acme-loki" in refusal("acme://x")


@pytest.mark.parametrize("version", ["2.0", "10.0", "1.1", "0.9", "0.10", "", "new", "1.0.1"])
def test_another_protocol_version_is_refused_with_both_and_what_to_upgrade(install, version):
    install("acme-loki", "acme", version=version)
    newer = version in ("2.0", "10.0", "1.1", "1.0.1")
    message = refusal("acme://x")
    assert f"protocol {version}," in message
    assert f"speaks {PROTOCOL_VERSION};" in message
    assert message.endswith("upgrade loki-storage" if newer else "upgrade acme-loki")


@pytest.mark.parametrize("version", ["1.9", "1.10", "1"])
def test_an_older_minor_version_of_the_protocol_is_welcome(install, monkeypatch, version):
    monkeypatch.setattr("loki_storage.plugins.PROTOCOL_VERSION", "1.10")
    install("acme-loki", "acme", version=version)
    assert find_backend("acme", plugin_manager()).protocol_version == version


def test_only_the_selected_plugin_is_imported(install):
    install("acme-loki", "acme")
    install("other-loki", "other", BROKEN)
    with open_storage("acme://x"):
        assert "acme_loki" in sys.modules
        assert "other_loki" not in sys.modules


def test_a_broken_other_plugin_stops_nobody(install):
    install("other-loki", "other", BROKEN)
    with open_storage("memory://") as storage:
        assert storage.name == "memory"


def test_the_list_shows_every_plugin_a_broken_one_with_its_error(install):
    install("acme-loki", "acme")
    install("other-loki", "other", BROKEN)
    install("third-loki", "third", "def")
    rows = {row.name: row for row in installed()}
    assert list(rows) == sorted(rows)
    assert rows["acme"].error is None
    assert rows["acme"].spec is not None
    assert (rows["acme"].distribution, rows["acme"].version) == ("acme-loki", "2.5")
    assert rows["other"].spec is None
    assert "RuntimeError" in str(rows["other"].error)
    assert "SyntaxError" in str(rows["third"].error)
    assert rows["memory"].error is None
    assert rows["memory"].distribution == "loki-storage"


def test_a_single_spec_is_as_good_as_a_list(install):
    one = GOOD.replace("[BackendSpec", "BackendSpec").replace(")]", ")")
    install("acme-loki", "acme", one)
    assert find_backend("acme", plugin_manager()).name == "acme"


def test_a_registered_backend_is_offered_inside_the_block_only():
    spec = BackendSpec("acme", open_memory, schemes=("acme2",), creates=True)
    with register_backend(spec), open_storage("acme2://x") as storage:
        assert storage.name == "acme"
    assert "no backend is installed" in refusal("acme2://x")


def test_a_registered_backend_goes_before_an_installed_one_and_back():
    mine = BackendSpec("memory", open_memory, summary="mine", creates=True)
    with register_backend(mine):
        assert find_backend("memory", plugin_manager()) is mine
        with register_backend(BackendSpec("memory", open_memory, summary="inner", creates=True)):
            assert find_backend("memory", plugin_manager()).summary == "inner"
        assert find_backend("memory", plugin_manager()) is mine
    assert find_backend("memory", plugin_manager()).summary != "mine"


def test_a_registered_backend_is_checked_for_its_protocol_too():
    with register_backend(BackendSpec("acme", open_memory, protocol_version="7.0")):
        assert "protocol 7.0" in refusal("acme://x")


def test_the_plugin_of_the_backend_brings_its_hooks(install):
    hook = "SEEN = []\n@hookimpl\ndef loki_after_commit(context): SEEN.append(context.tenant)\n"
    install("acme-loki", "acme", f"{GOOD}\n{hook}")
    with open_storage("acme://x") as storage:
        with storage.session(tenant="here") as session:
            session.audit.log("seen", "document")
        assert sys.modules["acme_loki"].SEEN == ["here"]
