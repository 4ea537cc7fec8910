import pytest

from loki_storage.cli.diff import print_diff, unified


def shown(capsys: pytest.CaptureFixture[str], before: str, after: str) -> list[str]:
    print_diff(before, after, "title")
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[:2] == ["", "title"]
    return lines[2:]


def test_changed_line_is_shown_in_both_forms(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "a\nold text\nb", "a\nnew text\nb") == [
        "  a",
        "- old text",
        "+ new text",
        "  b",
    ]


def test_changed_words_are_marked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    print_diff("we promise returns", "we expect returns", "title")
    out = capsys.readouterr().out
    assert "\x1b[1;4;31mpromise\x1b[0m" in out
    assert "\x1b[1;4;32mexpect\x1b[0m" in out


def test_no_colour_is_respected(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    print_diff("a", "b", "title")
    assert "\x1b[31m" not in capsys.readouterr().out


def test_far_lines_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"line {n}" for n in range(30)]
    after = ["LINE 0", *lines[1:-1], "LINE 29"]
    out = shown(capsys, "\n".join(lines), "\n".join(after))
    assert "~ …" in out
    assert "  line 15" not in out


def test_only_added_and_only_removed_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "a", "a\nb") == ["  a", "+ b"]
    assert shown(capsys, "a\nb", "a") == ["  a", "- b"]


def test_equal_texts(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "a", "a") == ["the texts are equal"]


def test_control_characters_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "a\r", "a\x1b[2J") == [r"- a\r", r"+ a\x1b[2J"]


def test_huge_texts_are_not_compared(capsys: pytest.CaptureFixture[str]) -> None:
    assert unified("x" * 300_000, "y", ("1", "2")) is None
    assert shown(capsys, "x" * 300_000, "y") == ["too long to be compared here; see --content"]


def test_unified_is_what_patch_reads() -> None:
    assert unified("a\nb", "a\nc", ("v1", "v2")) == "--- v1\n+++ v2\n@@ -1,2 +1,2 @@\n a\n-b\n+c"
