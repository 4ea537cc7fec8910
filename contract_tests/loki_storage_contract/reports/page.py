"""One self-contained HTML page: laws by backends, for any number of reports.

It loads nothing, works without scripts, light and dark, narrow and wide. An outcome is told by a
sign and a word; colour only repeats it.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib.resources import files
from string import Template

from loki_storage_contract.inventory import Law
from loki_storage_contract.rationales import RATIONALES
from loki_storage_contract.reports.groups import Group, grouped, title
from loki_storage_contract.reports.markdown import SIGNS, summary
from loki_storage_contract.reports.report import FailureReport, LawReport, Report, labels
from loki_storage_contract.verdicts import Outcome

__all__ = ["page"]

_MEANINGS: dict[Outcome, str] = {
    "passed": "every check of the law passed",
    "failed": "a check found it broken",
    "waived": "broken, for a stated reason and until a stated day",
    "absent": "about a method that the backend leaves to its default",
    "not claimed": "needs what the backend does not promise",
    "not run": "no check of it ran",
}


def page(reports: Sequence[Report]) -> str:
    """The page as text. The same reports give the same page."""
    laws = [{law.id: law for law in report.required} for report in reports]
    groups = list(grouped(set().union(*laws)))
    return Template(_file("page.html")).substitute(
        title="loki-storage contract: " + escape(", ".join(r.subject.name for r in reports)),
        css=_file("page.css"),
        script=_file("page.js"),
        headline=_headline(reports),
        lead=_lead(reports, groups),
        cards="\n".join(map(_card, reports)),
        broken=_broken(reports),
        legend="\n".join(_legend()),
        head=_head(reports),
        body="\n".join(_group(group, known, laws) for group, known in groups),
        cells=_cells(reports),
        how=_how(reports),
        foot=_foot(reports),
    )


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8").rstrip("\n")


def _headline(reports: Sequence[Report]) -> str:
    kept = sum(report.ok for report in reports)
    if len(reports) == 1:
        name = escape(reports[0].subject.name)
        return f"{name} keeps the contract" if kept else f"{name} breaks the contract"
    if kept == len(reports):
        return f"{_number(kept)} backends, one contract, and all keep it"
    return f"{kept} of {len(reports)} backends keep the contract"


def _number(count: int) -> str:
    words = ["Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten"]
    return words[count] if count < len(words) else str(count)


def _lead(reports: Sequence[Report], groups: Sequence[tuple[Group, list[Law]]]) -> str:
    laws = sum(len(known) for _, known in groups)
    examples = sum(report.examples for report in reports)
    return (
        f"{laws} laws say what a store of documents, validations, corrections and their audit "
        "trail must do. Each was tried with deterministic scenarios, generated data and a state "
        f"machine, {examples:,} times in all. A law that did not run never counts as passed."
    )


def _card(report: Report) -> str:
    subject = report.subject
    verdict = _pill("good", "✓ keeps it") if report.ok else _pill("bad", "✗ breaks it")
    plugin = f"{subject.distribution} {subject.version}".strip()
    facts = {
        "plugin": plugin,
        "profile": f"{report.profile}, seed {report.seed}" + (", in part" * report.partial),
        "tried": f"{report.examples:,} examples in {report.seconds:,.0f} s",
        "claims": ", ".join(report.claims) or "none",
        "overrides": ", ".join(report.overrides) or "none",
    }
    listed = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items() if value
    )
    return (
        f'<article class="card{"" if report.ok else " bad"}">'
        f'<div class="head"><h2>{escape(subject.name)}</h2>{verdict}</div>'
        f'<p class="db">{escape(subject.database or subject.summary)}</p>{_squares(report)}'
        f'<p class="tally">{escape(summary(report))}</p><dl class="facts">{listed}</dl></article>'
    )


def _pill(kind: str, text: str) -> str:
    return f'<span class="pill {kind}">{text}</span>'


def _squares(report: Report) -> str:
    """A square per law, group by group; the line below says the same in words."""
    laws = {law.id: law for law in report.required}
    rows = (
        "".join(_square(laws[law.id], title(law)) for law in known) for _, known in grouped(laws)
    )
    return (
        f'<div class="squares" aria-hidden="true">{"".join(f"<p>{row}</p>" for row in rows)}</div>'
    )


def _square(law: LawReport, text: str) -> str:
    told = escape(f"{law.id} {law.outcome}: {text}")
    return f'<a class="{_class(law.outcome)}" href="#{law.id}" tabindex="-1" title="{told}"></a>'


def _class(outcome: str) -> str:
    return outcome.replace(" ", "-")


def _broken(reports: Sequence[Report]) -> str:
    found = [
        _failure(report, laws, failure, first=not number)
        for report in reports
        for number, (failure, laws) in enumerate(report.broken.items())
    ]
    if not found:
        return ""
    return f'<section class="broken"><h2>What is broken</h2>{"".join(found)}</section>'


def _failure(report: Report, laws: Sequence[str], failure: FailureReport, *, first: bool) -> str:
    trace = "\n".join(failure.trace)
    shown = f"<p>The shortest way there:</p><pre>{escape(trace)}</pre>" if trace else ""
    names = escape(", ".join(failure.also_on))
    also = f"<p>It fails on {names} too: the fault is above the backend.</p>" if names else ""
    links = ", ".join(f'<a href="#{law}">{law}</a>' for law in laws)
    return (
        f"<details{' open' if first else ''}><summary><span><b>{escape(report.subject.name)}</b> "
        f"{escape(failure.error)}</span></summary><p>Breaks {links}.</p>{also}"
        f"<p>In <code>{escape(failure.check)}</code>, {escape(failure.place)}.</p>{shown}"
        f"<p>Again:</p><pre>{escape(failure.replay)}</pre></details>"
    )


def _legend() -> Iterator[str]:
    for outcome, meaning in _MEANINGS.items():
        sign = f'<span class="sign" aria-hidden="true">{SIGNS[outcome]}</span>'
        yield f'<li class="{_class(outcome)}">{sign} <span><b>{outcome}</b>: {meaning}</span></li>'


def _head(reports: Sequence[Report]) -> str:
    names = "".join(f'<th scope="col">{escape(label)}</th>' for label in labels(reports))
    return f'<tr><th class="first">Law</th>{names}</tr>'


def _group(group: Group, known: Sequence[Law], laws: Sequence[dict[str, LawReport]]) -> str:
    rows = "\n".join(_row(law, [found.get(law.id) for found in laws]) for law in known)
    counts = "".join(
        f"<td>{_passed(found, known)}<span class='sr'> laws passed</span></td>" for found in laws
    )
    title = f'<tr class="group"><th scope="rowgroup">{escape(group.title)}</th>{counts}</tr>'
    return f'<tbody id="{group.name}">\n{title}\n{rows}\n</tbody>'


def _passed(found: dict[str, LawReport], known: Iterable[Law]) -> str:
    mine = [found[law.id] for law in known if law.id in found]
    return f"{sum(law.outcome == 'passed' for law in mine)}/{len(mine)}"


def _row(law: Law, found: Sequence[LawReport | None]) -> str:
    everywhere = all(each is not None and each.outcome == "passed" for each in found)
    cells = "".join(map(_verdict, found))
    return (
        f'<tr data-all="{"passed" if everywhere else "open"}"><th scope="row" class="law" '
        f'id="{law.id}">{_law(law, found)}</th>{cells}</tr>'
    )


def _law(law: Law, found: Sequence[LawReport | None]) -> str:
    checks = sorted({name for each in found if each for name in each.checks})
    parts = [f"<p>{_marked(law.text)}</p>"]
    if law.id in RATIONALES:
        parts.append(f'<p class="why"><b>Why:</b> {_marked(RATIONALES[law.id])}</p>')
    who = "a backend can break it" if law.scope == "backend" else "the rules above backends keep it"
    parts.append(f'<p class="why"><b>Who:</b> {who}.</p>')
    if checks:
        names = ", ".join(f"<code>{escape(name)}</code>" for name in checks)
        parts.append(f'<p class="why"><b>Shown by:</b> {names}</p>')
    return (
        f'<details><summary><span class="id">{law.id}</span>'
        f"<span>{_marked(title(law))}</span></summary>"
        f'<div class="inside">{"".join(parts)}</div></details>'
    )


def _marked(text: str) -> str:
    """Escaped, with `code` as such."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _verdict(law: LawReport | None) -> str:
    outcome, sign = ("not asked", "·") if law is None else (law.outcome, SIGNS[law.outcome])
    number = f'<span class="n">{law.examples:,}×</span>' if law and law.examples else ""
    note = f' title="{escape(_note(law))}"' if law and _note(law) else ""
    return (
        f'<td class="{_class(outcome)}"{note}><span class="verdict">'
        f'<span class="sign" aria-hidden="true">{sign}</span>'
        f'<span class="word">{outcome}</span>{number}</span></td>'
    )


def _note(law: LawReport) -> str:
    """What a reader would ask next about a cell."""
    if law.waiver:
        return law.waiver
    unclaimed = ", ".join(law.unclaimed)
    return f"left out, as the backend does not claim what they need: {unclaimed}" * bool(unclaimed)


def _cells(reports: Sequence[Report]) -> str:
    """The table rule x outcome of the state machines: a required zero is a failure."""
    tables = [{(cell.rule, cell.outcome): cell for cell in report.cells} for report in reports]
    keys = sorted(set().union(*tables))
    if not keys:
        return ""
    rows = []
    for rule, outcome in keys:
        cells = [table.get((rule, outcome)) for table in tables]
        hits = "".join(
            f"<td{' class=zero' if cell and cell.missing else ''}>{cell.hits if cell else 0:,}"
            f"{' (required)' if cell and cell.missing else ''}</td>"
            for cell in cells
        )
        rows.append(f'<tr><th scope="row">{escape(rule)}</th><td>{escape(outcome)}</td>{hits}</tr>')
    names = "".join(f'<th scope="col">{escape(label)}</th>' for label in labels(reports))
    return (
        '<section aria-labelledby="cells-title">'
        '<h2 id="cells-title">What the state machine met</h2>'
        '<p class="how">Each rule with each outcome, and how often it occurred. A zero where an '
        "outcome is required fails the run: what was never tried is not known to work.</p>"
        '<div class="scroll" role="region" aria-labelledby="cells-title" tabindex="0">'
        '<table class="outcomes"><thead><tr><th scope="col">rule</th><th scope="col">outcome</th>'
        f"{names}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _how(reports: Sequence[Report]) -> str:
    commands = "\n".join(
        f"loki-storage contract run --backend {report.subject.name} --profile {report.profile}"
        + (f" --seed {report.seed}" if report.seed else "")
        for report in reports
    )
    return (
        '<p class="how">Every cell comes from a run of the kit that ships with loki-storage. '
        "To repeat them:</p>"
        f"<pre>{escape(commands)}</pre>"
    )


def _foot(reports: Sequence[Report]) -> str:
    contracts = sorted({report.surroundings.contract for report in reports})
    kits = sorted({report.surroundings.kit for report in reports})
    where = sorted({f"{r.surroundings.python}, {r.surroundings.system}" for r in reports})
    days = sorted({report.started[:10] for report in reports})
    differ = " These reports judge different laws: their cells do not compare." * (
        len(contracts) > 1
    )
    return escape(
        f"Contract {', '.join(contracts)}. Kit {', '.join(kits)}. {'; '.join(where)}. "
        f"{' to '.join(dict.fromkeys((days[0], days[-1])))}.{differ}"
    )
