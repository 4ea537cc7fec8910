#!/usr/bin/env python3
"""Judge the backends that can be had here, and write a report of each and the matrix of all.

    python contract_tests/make_reports.py                      docs/reports, by the profile ci
    python contract_tests/make_reports.py --render             only render what is there
    python contract_tests/make_reports.py --part 2/4 sqlite    every fourth check, from the second
    python contract_tests/make_reports.py kill-matrix          the kit against its faulty backends

PostgreSQL comes from the servers that the tests bring; they end with this process.
"""

import argparse
import atexit
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from importlib import invalidate_caches
from pathlib import Path
from typing import Any

from loki_storage_contract.assertions import explain_assertions

ROOT = Path(__file__).resolve().parents[1]
ORDER = ("memory", "sqlite", "postgresql-16", "postgresql-18", "jsonl")
MATRIX = "kill-matrix"


def main() -> int:
    asked = arguments()
    folder: Path = asked.output
    folder.mkdir(parents=True, exist_ok=True)
    explain_assertions()
    sys.path.insert(0, str(ROOT))
    with servers():
        names = [] if asked.render else asked.names or (*ORDER, MATRIX)
        oks = [
            prove(asked.part, folder)
            if name == MATRIX
            else judge(name, asked.profile, asked.part, folder)
            for name in names
        ]
    for name, text in rendered(folder).items():
        (folder / name).write_text(text, "utf-8", newline="\n")
    return 0 if all(oks) else 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"one of {', '.join((*ORDER, MATRIX))}"
    )
    parser.add_argument("--profile", default="ci")
    parser.add_argument("--part", default="1/1", metavar="K/N")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "reports")
    parser.add_argument("--render", action="store_true")
    return parser.parse_args()


@contextmanager
def servers() -> Iterator[None]:
    """PostgreSQL servers start when they are asked for, and end here."""
    from tests.postgresql.shared import TestRun

    run = TestRun()
    try:
        yield
    finally:
        run.end()


def judge(name: str, profile: str, part: str, folder: Path) -> bool:
    from loki_storage_contract.choosing import subject_of
    from loki_storage_contract.reports import report_of
    from loki_storage_contract.reports.files import as_text
    from loki_storage_contract.runner import checks_to_run, run_target

    target, started = target_of(name), datetime.now(UTC)
    first, step = map(int, part.split("/"))
    checks = [check.name for check in checks_to_run((), (), profile)][first - 1 :: step]
    result = run_target(target, profile, checks=checks if step > 1 else ())
    report = report_of(result, subject_of(target), started)
    (folder / f"{name}.json").write_text(as_text(report), "utf-8", newline="\n")
    print(f"{name}: {'keeps' if report.ok else 'breaks'} the contract, {report.seconds:.0f} s")
    for failure, laws in report.broken.items():
        print("  ", ", ".join(laws), failure.error, failure.check)
    return report.ok


def prove(part: str, folder: Path) -> bool:
    from loki_storage_contract.proving import prove

    proofs = prove(part=part)
    text = json.dumps(proofs.as_json(), ensure_ascii=False, indent=1)
    (folder / f"{MATRIX}.json").write_text(f"{text}\n", "utf-8", newline="\n")
    print(proofs.summary())
    for proof in proofs.survivors:
        print("  ", proof.line(), proof.error)
    return proofs.ok


def target_of(name: str) -> Any:
    from loki_storage_contract import BackendTarget
    from loki_storage_contract.choosing import choose_target
    from loki_storage_contract.target import open_url

    if name == "jsonl":
        install_example()
    if not name.startswith("postgresql-"):
        return choose_target(name, None)
    from tests.postgresql.shared import process_url, versions

    (version,) = [v for v in versions() if v.startswith(name.partition("-")[2])]
    url = process_url(version, "reports")
    return BackendTarget("postgresql", partial(open_url, url), durable=True, processes=True)


def install_example() -> None:
    """The example's wheel, found by this process and its children as any plugin is."""
    from tests.wheels import build_wheel, install

    folder = Path(tempfile.mkdtemp("", "loki-example-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "site").mkdir()
    wheel = build_wheel(ROOT / "examples" / "loki-storage-jsonl", folder / "wheel")
    install([wheel], folder / "site")
    sys.path.insert(0, str(folder / "site"))
    invalidate_caches()


def rendered(folder: Path) -> dict[str, str]:
    """What is made of the JSON files: the matrix as a page and as Markdown, a badge each."""
    from loki_storage_contract.reports import read_report, render
    from loki_storage_contract.reports.kills import kills

    reports = {
        name: read_report(path) for name in ORDER if (path := folder / f"{name}.json").exists()
    }
    badges = {f"{name}.svg": render([report], ".svg") for name, report in reports.items()}
    every = list(reports.values())
    about_all = {"index.html": ".html", "README.md": ".md"} if every else {}
    pages = {name: render(every, suffix) for name, suffix in about_all.items()} | badges
    matrix = folder / f"{MATRIX}.json"
    if matrix.exists():
        pages[f"{MATRIX}.md"] = kills(json.loads(matrix.read_text("utf-8")))
    return pages


if __name__ == "__main__":
    sys.exit(main())
