import json
from datetime import UTC, date, datetime
from typing import Any

import pytest
from rich.text import Text

from loki_storage.cli import output
from loki_storage.cli.output import Column


def printed(capsys: pytest.CaptureFixture[str], width: int, monkeypatch: Any, *args: Any) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    output.print_table(*args)
    return capsys.readouterr().out


TITLES = ["Autumn leaflet", "A title that goes on and on, far beyond what a narrow terminal shows"]
COLUMNS = [
    Column("id", right=True),
    Column("title", share=2),
    Column("client", share=1),
    Column("created", from_width=100),
]
ROWS = [(n + 1, title, "quillfeather-wealth", "2026-11-24") for n, title in enumerate(TITLES)]


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100, 160])
def test_table_never_exceeds_the_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: Any, width: int
) -> None:
    text = printed(capsys, width, monkeypatch, COLUMNS, ROWS)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert len(text.splitlines()) == 2 + len(ROWS)


def test_narrow_table_cuts_what_shares_and_keeps_the_rest(
    capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    text = printed(capsys, 50, monkeypatch, COLUMNS, ROWS)
    assert "…" in text
    assert "created" not in text
    assert "Autumn leaflet" in text


def test_wide_table_shows_everything(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    text = printed(capsys, 160, monkeypatch, COLUMNS, ROWS)
    assert "…" not in text
    assert all(title in text for title in TITLES)


def test_wrapping_column_goes_on_below(
    capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    text = printed(capsys, 30, monkeypatch, [Column("m", share=1, wrap=True)], [(TITLES[1],)])
    assert "".join(text.split()[2:]) == "".join(TITLES[1].split())


def test_wide_characters_count_as_two_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    columns = [Column("title", share=1), Column("n")]
    text = printed(capsys, 40, monkeypatch, columns, [("标题" * 30, 1), ("plain", 2)])
    rows = text.splitlines()[2:]
    assert Text(rows[0]).cell_len == Text(rows[1]).cell_len


def test_stored_text_is_neither_markup_nor_control(
    capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    hostile = "[red]x[/red]\x1b[31m\r\n\x9b\u202e:smile:"
    text = printed(capsys, 160, monkeypatch, [Column("t")], [(hostile,)])
    assert r"[red]x[/red]\x1b[31m\r\n\x9b\u202e:smile:" in text


def test_text_is_printed_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_text("one\r\ntwo\tthree\n\x07" + "x" * 300)
    assert capsys.readouterr().out == "one\ntwo\tthree\n\\x07" + "x" * 300 + "\n"


def test_json_keeps_text_order_and_times(capsys: pytest.CaptureFixture[str]) -> None:
    moment = datetime(2026, 11, 24, 1, 2, 3, 4, UTC)
    output.print_json({"b": "ü\u2028", "a": [moment, date(2026, 11, 24), 10**40, 1.0]})
    text = capsys.readouterr().out
    assert json.loads(text) == {
        "b": "ü\u2028",
        "a": ["2026-11-24T01:02:03.000004+00:00", "2026-11-24", 10**40, 1.0],
    }
    assert list(json.loads(text)) == ["b", "a"]


@pytest.mark.parametrize(
    ("octets", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (307_200, "307 kB"), (1_250_000, "1.25 MB")],
)
def test_size_is_for_people(octets: int, text: str) -> None:
    assert output.size(octets) == text


def test_bar_shows_what_is_not_nothing() -> None:
    assert output.bar(0) == ""
    assert len(output.bar(0.01)) == 1
    assert len(output.bar(10)) == 10


def test_plural() -> None:
    assert [output.plural(n, "line") for n in (0, 1, 1000)] == ["0 lines", "1 line", "1,000 lines"]
