"""``loki-storage new-backend acme``: a package that keeps the contract, to begin from.

The templates are the files of a backend called acme; the name is all that changes.
"""

import re
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import click

from loki_storage.cli.invocation import Failure, Invocation, printing
from loki_storage.cli.output import print_json
from loki_storage.plugins import installed

__all__ = ["new_backend_command"]

_NAME = re.compile("[a-z][a-z0-9]{1,30}")
_SUFFIX = ".template"


@click.command("new-backend")
@click.argument("name")
@click.option(
    "--path",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder to write, which must not exist.  [default: loki-storage-NAME]",
)
@printing
def new_backend_command(invocation: Invocation, name: str, path: Path | None) -> None:
    """Write the package of a new backend, which passes as it is.

    It keeps its rows in memory so far.

    NAME is the backend's name and the scheme of its URLs: lower-case letters and digits.
    """
    _check_name(name)
    folder = path or Path(f"loki-storage-{name}")
    if folder.exists():
        raise Failure(f"{folder} exists; give another --path")
    try:
        written = [_write(folder, inner, text) for inner, text in _package(name)]
    except OSError as error:
        raise Failure(f"{folder} cannot be written: {error.strerror}") from error
    if invocation.as_json:
        print_json({"folder": str(folder), "files": [str(file) for file in written]})
    else:
        click.echo(_NEXT.format(count=len(written), folder=folder, name=name))


_NEXT = """\
{count} files in {folder}. Next:

  cd {folder}
  pip install --editable ".[test]"
  loki-storage contract run --backend {name} --profile smoke

It passes as it is. Then replace the methods in loki_storage_{name}/backend.py, one by one."""


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise Failure(
            f"{name!r} cannot be a backend's name: it takes 2 to 31 lower-case letters and digits, "
            "a letter first"
        )
    if name in {backend.name for backend in installed()}:
        raise Failure(f"a backend named {name} is installed already; choose another name")


def _package(name: str) -> Iterator[tuple[Path, str]]:
    """The files of a package: their paths in its folder, and their texts."""
    for path, template in sorted(_templates(files(__package__) / "templates" / "backend", Path())):
        text = template.read_text("utf-8")
        yield Path(_named(path.as_posix(), name).removesuffix(_SUFFIX)), _named(text, name)


def _templates(folder: Traversable, path: Path) -> Iterator[tuple[Path, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _templates(entry, path / entry.name)
        elif entry.name.endswith(_SUFFIX):
            yield path / entry.name, entry


def _named(text: str, name: str) -> str:
    return text.replace("acme", name).replace("Acme", name.capitalize())


def _write(folder: Path, path: Path, text: str) -> Path:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8", newline="\n")
    return file
