"""A cfg as text."""

from pathlib import Path

import pytest

from train.darknet.sections import read_sections


def test_keys_know_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "net.cfg"
    path.write_text("\ufeff# a comment\n[network]\n width = 416 ; px\n\n[conv]\nanchors = 1, 2.5\nstride=-1\n")
    net, conv = read_sections(path)
    assert (net.kind, net.line, net.options, net.lines) == ("net", 2, {"width": "416"}, {"width": 3})
    assert conv.kind == "convolutional" and conv.numbers("anchors") == [1, 2.5] and conv.number("decay", 7) == 7
    with pytest.raises(
        ValueError, match=r"net\.cfg:7: \[convolutional\] stride=-1: expected a whole number of at least 0"
    ):
        conv.whole("stride")
    with pytest.raises(ValueError, match=r"net\.cfg:5: \[convolutional\] size: expected a whole number"):
        conv.whole("size")
    with pytest.raises(ValueError, match=r"net\.cfg:6: \[convolutional\] anchors=1,2.5: expected a number"):
        conv.number("anchors", 1)


@pytest.mark.parametrize("text", ["width=3", "[net]\nwidth", "[net]\n=3", "[net]\nwidth="])
def test_what_is_no_key_and_value_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "net.cfg").write_text(text)
    with pytest.raises(ValueError, match=r"net\.cfg:\d: expected key=value inside a \[section\]"):
        read_sections(tmp_path / "net.cfg")
