"""JUnit's XML: what every CI server shows. A suite per group of laws, a test case per law."""

from collections.abc import Iterator
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from loki_storage_contract.reports.groups import Group, grouped, title
from loki_storage_contract.reports.report import LawReport, Report

__all__ = ["junit"]


def junit(report: Report) -> str:
    """The report as JUnit XML. A waived, absent or unclaimed law is skipped, never passed."""
    laws = {law.id: law for law in report.laws if law.required or law.outcome != "not run"}
    root = Element("testsuites", name=f"loki-storage contract: {report.subject.name}")
    for group, known in grouped(laws):
        suite = SubElement(root, "testsuite", name=group.title)
        for law in known:
            _case(suite, report, group, laws[law.id], f"{law.id} {title(law)}")
        _sums(suite, [laws[law.id] for law in known])
    _sums(root, list(laws.values()))
    indent(root)
    return tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(suite: Element, report: Report, group: Group, law: LawReport, name: str) -> None:
    place = f"contract.{report.subject.name}.{group.name}"
    case = SubElement(suite, "testcase", classname=place, name=_clean(name), time=str(law.seconds))
    if not law.ok:
        for message, text in _complaints(law):
            SubElement(case, "failure", message=_clean(message)).text = _clean(text)
    elif law.outcome != "passed":
        reason = law.waiver or ", ".join(law.unclaimed)
        SubElement(case, "skipped", message=_clean(f"{law.outcome}: {reason}".rstrip(": ")))


def _complaints(law: LawReport) -> Iterator[tuple[str, str]]:
    for failure in law.failures:
        text = "\n".join([failure.place, *failure.trace, "", f"replay: {failure.replay}"])
        yield failure.error, text
    if not law.failures:
        yield "not run", "no check of this law ran; a required law that did not run is a failure"


def _sums(suite: Element, laws: list[LawReport]) -> None:
    suite.set("tests", str(len(laws)))
    suite.set("failures", str(sum(not law.ok for law in laws)))
    suite.set("skipped", str(sum(law.ok and law.outcome != "passed" for law in laws)))
    suite.set("time", str(round(sum(law.seconds for law in laws), 3)))


def _clean(text: str) -> str:
    """Without the characters that XML cannot hold: what is hostile to stores is so to readers."""
    return "".join(c if c in "\t\n" or (c >= " " and c not in _REFUSED) else "�" for c in text)


_REFUSED = {chr(code) for code in (*range(0xD800, 0xE000), 0xFFFE, 0xFFFF)}
