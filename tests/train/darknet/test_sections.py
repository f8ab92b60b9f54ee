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


def test_comments_may_be_in_any_encoding_and_numbers_are_those_of_darknet(tmp_path: Path) -> None:
    path = tmp_path / "net.cfg"
    path.write_bytes(b"# 416 \xd7 416\n[net]\nwidth=1_0\nhue=1_0.5,\xd9\xa3\nsteps=-1,.5,2.,3e2\nbatch=" + b"9" * 5000)
    (net,) = read_sections(path)
    assert net.numbers("steps") == [-1, 0.5, 2, 300]
    for key in ("width", "batch"):  # to darknet's atoi, 1_0 is 1
        with pytest.raises(ValueError, match=r"net\.cfg:\d: \[net\] .*: expected a whole number"):
            net.whole(key)
    with pytest.raises(ValueError, match=r"net\.cfg:4: \[net\] hue=.*: expected numbers with commas"):
        net.numbers("hue")


def test_a_message_does_not_grow_with_a_value(tmp_path: Path) -> None:
    (tmp_path / "net.cfg").write_text(f"[net]\nwidth={'9' * 5000}x\n")
    with pytest.raises(ValueError, match=r"net\.cfg:2: \[net\] width=9+: expected a whole number") as error:
        read_sections(tmp_path / "net.cfg")[0].whole("width")
    assert len(str(error.value)) < 500
