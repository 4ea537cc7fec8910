"""What is put to the proof: a backend, how to open it, how to empty it, what it claims."""

import shlex
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any, Self

import attrs

from loki_storage.batch import Batch, Delete, Operation
from loki_storage.plugins import find_backend, plugin_manager
from loki_storage.protocol import Backend

__all__ = ["BackendTarget", "empty", "open_url"]


def empty(backend: Backend) -> None:
    """Delete every row through the protocol: cheaper than to create a store anew."""
    operations: defaultdict[str, list[Operation]] = defaultdict(list)
    for record in backend.dump():
        operations[record.tenant_id].append(Delete(type(record), record.id))
    for tenant, deletes in operations.items():
        backend.apply(Batch(tenant, deletes))


def open_url(url: str, **options: Any) -> Backend:
    """The prepared backend of a URL, as ``open_storage`` would open it."""
    spec = find_backend(url.partition(":")[0], plugin_manager())
    backend: Backend = spec.open(url, **options)
    try:
        backend.prepare(create=True)
    except BaseException:
        backend.close()
        raise
    return backend


def _shown(url: str) -> str:
    """The URL in a command, or where a report must not tell it, the variable that holds it."""
    private = "@" in url or "password" in url.lower()
    return '"$LOKI_STORAGE_URL"' if private else shlex.quote(url).replace("{", "{{")


def _replay(backend: str) -> str:
    return (
        f"loki-storage contract run --backend {backend} --profile {{profile}} --law {{law}} "
        "--check {check}"
    )


@attrs.frozen
class BackendTarget:
    """A backend to be judged.

    ``open`` gives another prepared handle to one and the same store; ``reset(backend)`` leaves that
    store without rows. Claims: ``durable`` (what was written is there after the last handle was
    closed), ``processes`` (several processes may share the store; ``open`` can then be pickled).
    """

    name: str
    open: Callable[[], Backend]
    reset: Callable[[Backend], None] = empty
    durable: bool = attrs.field(default=False, kw_only=True)
    processes: bool = attrs.field(default=False, kw_only=True)
    replay: str = attrs.field(default="python -m pytest -k test_{check}", kw_only=True)
    """The command that runs one check again: ``{check}`` is its name, ``{profile}`` the profile's,
    ``{law}`` its first law. A seed other than 0 is added as ``--seed``."""
    fresh: Callable[[], "BackendTarget"] | None = attrs.field(default=None, kw_only=True)
    """Called in another process: the target of a store of that process's own. A run can then use
    several processes at once; without it they would empty each other's store."""

    @classmethod
    def of_url(cls, name: str, url: str, *, durable: bool = False, processes: bool = False) -> Self:
        """The target of a URL that names one store."""
        replay = _replay(f"{shlex.quote(name)} --url {_shown(url)}")
        opened = partial(open_url, url)
        return cls(name, opened, durable=durable, processes=processes, replay=replay)

    def made_by(self, make: Callable[[], "BackendTarget"]) -> Self:
        """This target, which ``make`` made for the occasion, and can make again."""
        return attrs.evolve(self, fresh=make, replay=_replay(shlex.quote(self.name)))

    def claims(self, claim: str) -> bool:
        """Whether the target claims that."""
        return bool(getattr(self, claim))
