"""``loki-storage contract``: judge a backend, read the laws, render reports.

The kit is imported when a command runs: ``loki_storage`` alone needs neither Hypothesis nor pytest.
"""

import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any
from warnings import catch_warnings

import click

from loki_storage.cli.invocation import Failure, Invocation, printing
from loki_storage.cli.output import print_json

__all__ = ["contract_commands"]

_FAILED = 1


@click.group("contract")
def contract_commands() -> None:
    """Prove that a backend keeps the laws of loki-storage.

    Running it needs Hypothesis and pytest: pip install "loki-storage[contract]".
    """


@contract_commands.command("run")
@click.option("--backend", metavar="NAME", help="Whose contract.  [default: the URL's scheme]")
@click.option("--url", metavar="URL", help="A store of its own: the kit empties it, many times.")
@click.option(
    "--profile",
    default="ci",
    show_default=True,
    type=click.Choice(["smoke", "ci", "nightly", "soak"]),
    help="How much is tried.",
)
@click.option("--law", "laws", multiple=True, metavar="ID", help="This law alone; repeatable.")
@click.option("--check", "checks", multiple=True, metavar="NAME", help="This check alone.")
@click.option("--seed", type=int, help="Repeat a run of a random profile.")
@click.option(
    "--claim",
    "claims",
    multiple=True,
    type=click.Choice(["durable", "processes"]),
    help="What the backend promises, where its plugin does not say so; repeatable.",
)
@click.option(
    "--waivers",
    "waivers_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A TOML file of laws that are broken for a reason: [QRY-4] reason, expires.",
)
@click.option(
    "--report",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write report.json, junit.xml, report.md, badge.svg and report.html there.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    help="Processes that share the work.  [default: one per core, up to 4, without --url; else 1]",
)
@click.option("-x", "--exit-first", is_flag=True, help="Stop at the first failure; no reports.")
@click.option("--wipe", is_flag=True, help="Delete what is in the store.")
@printing
def run_command(
    invocation: Invocation,
    backend: str | None,
    waivers_file: Path | None,
    folder: Path | None,
    exit_first: bool,
    wipe: bool,
    claims: tuple[str, ...],
    jobs: int | None,
    **asked: Any,
) -> None:
    """Judge a backend by every law, or by some.

    Exit code 0: it keeps them, 1: it breaks one, 2: the run itself was not possible.
    """
    with _usage():
        _kit("assertions").explain_assertions()
        choosing = _kit("choosing")
        target = choosing.choose_target(backend, invocation.url, claims)
        choosing.check_store(target, wipe=wipe or invocation.url is None)
        waivers = [] if waivers_file is None else _waivers(waivers_file)
        asked["jobs"] = jobs or choosing.jobs_for(target)
        report = _judge(target, asked, waivers, quiet=invocation.as_json, first_only=exit_first)
    files = [] if folder is None else _kit("reports").write_reports(report, folder)
    if invocation.as_json:
        print_json(report.to_json())
    else:
        _output().print_run(report, files)
    if not report.ok:
        raise click.exceptions.Exit(_FAILED)


def _judge(
    target: Any, asked: dict[str, Any], waivers: list[Any], *, quiet: bool, first_only: bool
) -> Any:
    """The report of a run; failures are told as they are found."""
    choosing, runner, started = _kit("choosing"), _kit("runner"), datetime.now(UTC)
    subject = choosing.subject_of(target)
    checks = runner.checks_to_run(asked["laws"], asked["checks"], asked["profile"])
    output = _output()
    try:
        with (
            catch_warnings(action="ignore"),  # of Hypothesis, about its own work
            output.Told(len(checks), quiet=quiet, first_only=first_only) as told,
        ):
            result = runner.run_target(target, waivers=waivers, tell=told.check, **asked)
    except output.Stopped:
        raise click.exceptions.Exit(_FAILED) from None
    finally:
        choosing.leave_empty(target)
    return _kit("reports").report_of(result, subject, started)


@contract_commands.command("prove")
@click.option("--part", default="1/1", metavar="K/N", help="Every N-th fault, from the K-th on.")
@click.option("--fault", "faults", multiple=True, metavar="NAME", help="This one; repeatable.")
@click.option(
    "--mode",
    default="own",
    show_default=True,
    type=click.Choice(["own", "every", "others"]),
    help="Which laws each fault meets: its own, every one (slow), all but its own (slow).",
)
@click.option(
    "--profile",
    default="ci",
    show_default=True,
    type=click.Choice(["smoke", "ci"]),
    help="How much is tried.",
)
@click.option("--jobs", type=click.IntRange(1), help="Processes at once.  [default: one per core]")
@printing
def prove_command(
    invocation: Invocation,
    part: str,
    faults: tuple[str, ...],
    mode: str,
    profile: str,
    jobs: int | None,
) -> None:
    """Prove the kit itself: its faulty backends are found, odd but correct ones pass.

    Prints the kill matrix, law by fault. Exit code 0: every fault is found by its own law, run
    alone in a fresh process; 1: one survives.
    """
    proving = _kit("proving")
    quiet = invocation.as_json
    with _usage():
        proofs = proving.prove(
            faults,
            part=part,
            mode=mode,
            profile=profile,
            jobs=jobs,
            tell=lambda proof: None if quiet else click.echo(proof.line()),
        )
    if quiet:
        print_json(proofs.as_json())
    else:
        click.echo(f"\n{proofs.summary()}")
    if not proofs.ok:
        raise click.exceptions.Exit(_FAILED)


@contract_commands.command("laws")
@click.argument("ids", nargs=-1, metavar="[LAW]...")
@printing
def laws_command(invocation: Invocation, ids: tuple[str, ...]) -> None:
    """Read the laws: all of them in a list, or some in full, each with the reason for it."""
    known = _kit("further_laws").ALL_LAWS
    chosen = [_law(known, id) for id in ids] or list(known.values())
    if invocation.as_json:
        print_json({"laws": [_as_json(law) for law in chosen]})
    elif ids:
        for law in chosen:
            _output().print_law(law)
    else:
        _output().print_laws(_kit("reports.groups").grouped(known))


@contract_commands.command("report")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write: .html, .md, .xml or .svg (the last two of one report).",
)
@printing
def report_command(invocation: Invocation, files: tuple[Path, ...], output: Path) -> None:
    """Render reports of several runs (report.json) as one page."""
    reports = _kit("reports")
    with _usage():
        text = reports.render([reports.read_report(path) for path in files], output.suffix)
        output.write_text(text, "utf-8", errors="backslashreplace", newline="\n")
    if invocation.as_json:
        print_json({"written": str(output)})
    else:
        click.echo(str(output))


def _kit(module: str) -> Any:
    """A module of the kit; a clear word where what it needs is not installed."""
    try:
        return import_module(f"loki_storage_contract.{module}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("loki_storage"):
            raise
        raise Failure(
            f'the contract kit needs {error.name}; run: pip install "loki-storage[contract]"'
        ) from error


def _output() -> Any:
    """How the kit's findings are printed: it knows the kit, so it is imported with it."""
    return import_module("loki_storage.cli.contract_output")


@contextmanager
def _usage() -> Iterator[None]:
    """What cannot be done as asked ends in a message and exit code 2."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise Failure(str(error)) from error
    except KeyError as error:
        raise Failure(
            f"{error.args[0]!r} is not known; see `loki-storage contract laws`"
        ) from error


def _waivers(path: Path) -> list[Any]:
    waiver: Callable[..., Any] = _kit("verdicts").Waiver
    laws = tomllib.loads(path.read_text("utf-8"))
    try:
        return [waiver(law, **facts) for law, facts in laws.items()]
    except TypeError as error:
        raise ValueError(f"{path}: each law needs reason (text) and expires (a date)") from error


def _law(known: dict[str, Any], id: str) -> Any:
    if id.upper() not in known:
        raise Failure(f"there is no law {id!r}; `loki-storage contract laws` lists them")
    return known[id.upper()]


def _as_json(law: Any) -> dict[str, object]:
    meanings = _kit("rationales")
    return {
        "id": law.id,
        "scope": law.scope,
        "title": meanings.TITLES.get(law.id),
        "text": law.text,
        "rationale": meanings.RATIONALES.get(law.id),
        "needs": law.needs,
    }
