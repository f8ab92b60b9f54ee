"""The command: what it writes and prints, and that one bad file costs nothing but itself."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from train.detect import load_detector, main, read_thresholds


def test_pictures_are_drawn_and_all_detections_are_in_one_file(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("frame10", "frame9"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((200, 300, 3), 128, np.uint8))
    main([str(trained_run), str(tmp_path / "frame*.png"), "--out", str(tmp_path / "out")])
    records = json.loads((tmp_path / "out/detections.json").read_text())
    assert list(records) == [f"{tmp_path}/frame9.png", f"{tmp_path}/frame10.png"]
    record = records[f"{tmp_path}/frame9.png"]
    assert (record["picture"], record["width"], record["height"]) == ("frame9.jpg", 300, 200)
    for each in record["detections"]:
        assert each["class"] == "ring" and each["score"] == pytest.approx(0.982, abs=0.01)
        left, top, right, bottom = each["box_xyxy_px"]
        assert 0 <= left < right <= 300 and 0 <= top < bottom <= 200  # none in the border of the letterbox
    assert 13 * 9 <= len(record["detections"]) < 13 * 13
    drawn = cv2.imread(str(tmp_path / "out/frame9.jpg"))
    assert drawn.shape == (200, 300, 3) and drawn.std() > 10
    assert f"frame9.png: {len(record['detections'])} ring\n" in capsys.readouterr().out


def test_thresholds_and_size_are_chosen_on_the_command_line(trained_run: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((200, 200, 3), 128, np.uint8))

    def count(*options: str) -> int:
        main([str(trained_run), str(tmp_path / "grey.png"), "--out", str(tmp_path / "out"), *options])
        (record,) = json.loads((tmp_path / "out/detections.json").read_text()).values()
        return len(record["detections"])

    # boxes of two cells in each of 13 x 13 cells: 1/3 of two neighbours is common
    assert count("evaluate.iou_threshold=0.9") == count("evaluate.iou_threshold=0.4") == 169
    assert count("evaluate.iou_threshold=0.3") < 169
    assert count("evaluate.iou_threshold=0.9", "evaluate.side=96") == 9
    assert count("--threshold", "0.99") == 0
    assert count("evaluate.max_detections=5") == 5


def test_wrong_files_end_with_a_clear_line(trained_run: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("not a picture")
    with pytest.raises(ValueError, match=r"text\.jpg does not decode: neither JPEG nor another known image format"):
        main([str(trained_run), str(text)])
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((20, 20, 3), 128, np.uint8))
    with pytest.raises(ValueError, match=r"text\.jpg does not decode"):  # the others are done all the same
        main([str(trained_run), str(text), str(tmp_path / "grey.png"), "--out", str(tmp_path / "out")])
    assert list(json.loads((tmp_path / "out/detections.json").read_text())) == [f"{tmp_path}/grey.png"]
    assert (tmp_path / "out/grey.jpg").exists()
    with pytest.raises(ValueError, match=r"no .*elsewhere: expected the folder of a run"):
        main([str(tmp_path / "elsewhere"), str(text)])
    for path in (trained_run / "checkpoints").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="no checkpoint under"):
        main([str(trained_run), str(text)])


def grey(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        cv2.imwrite(str(folder / name), np.full((64, 96, 3), 128, np.uint8))


def test_every_format_is_written_in_one_pass(trained_run: Path, tmp_path: Path) -> None:
    grey(tmp_path, "pictures/a.png", "pictures/deep/a.png")
    out = tmp_path / "out"
    main([str(trained_run), str(tmp_path / "pictures"), "--out", str(out), "--format", "json,csv,coco,voc,yolo"])
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert names == {
        "a.jpg", "a-2.jpg", "detections.json", "detections.csv", "detections-coco.json", "voc/a.xml", "voc/a-2.xml",
        "labels/a.txt", "labels/a-2.txt", "classes.txt",
    }  # fmt: skip
    with pytest.raises(ValueError, match="--format json,xml: expected some of json, csv, coco, voc, yolo, found xml"):
        main([str(trained_run), str(tmp_path / "pictures"), "--format", "json,xml"])


def test_the_originals_are_never_overwritten(trained_run: Path, tmp_path: Path) -> None:
    grey(tmp_path, "pictures/a.jpg")
    before = (tmp_path / "pictures/a.jpg").read_bytes()
    with pytest.raises(ValueError, match="expected another folder than that of"):
        main([str(trained_run), str(tmp_path / "pictures"), "--out", str(tmp_path / "pictures")])
    assert (tmp_path / "pictures/a.jpg").read_bytes() == before and len(list((tmp_path / "pictures").iterdir())) == 1


def test_a_picture_that_cannot_be_written_costs_only_itself(trained_run: Path, tmp_path: Path) -> None:
    grey(tmp_path, "pictures/a.png", "pictures/b.png", "pictures/图.png")
    (tmp_path / "out/a.jpg").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"a\.jpg"):
        main([str(trained_run), str(tmp_path / "pictures"), "--out", str(tmp_path / "out")])
    assert len(json.loads((tmp_path / "out/detections.json").read_text())) == 3
    assert (tmp_path / "out/b.jpg").is_file() and (tmp_path / "out/图.jpg").is_file()


def test_a_result_that_cannot_be_written_costs_only_itself(trained_run: Path, tmp_path: Path) -> None:
    names = [f"pictures/{number:02}.png" for number in range(23)]
    grey(tmp_path, *names)
    for name in names[:21]:
        (tmp_path / "out/labels" / Path(name).with_suffix(".txt").name).mkdir(parents=True)
    with pytest.raises(ValueError, match=r"00\.png is not in yolo: .*Is a directory(?s:.*)\nand 1 more$"):
        main([str(trained_run), str(tmp_path / "pictures"), "--out", str(tmp_path / "out"), "--format", "yolo,json"])
    assert len(json.loads((tmp_path / "out/detections.json").read_text())) == 23
    assert (tmp_path / "out/labels/22.txt").is_file()


def test_names_that_are_not_unicode(trained_run: Path, tmp_path: Path) -> None:
    grey(tmp_path, "a.png")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "a.png").rename(tmp_path / os.fsdecode(b"pictures/caf\xe9.png"))
    formats = "json,csv,coco,voc,yolo"
    main([str(trained_run), str(tmp_path / "pictures"), "--out", str(tmp_path / "out"), "--format", formats])
    assert len(list((tmp_path / "out").rglob("caf*"))) == 3


def test_what_was_found_is_kept_when_something_ends_the_command(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grey(tmp_path, *(f"pictures/{number}.png" for number in range(9)))

    def interrupted(*arguments: object, real: object = __import__("train.detect").detect.detect) -> Iterator[object]:
        for number, result in enumerate(real(*arguments)):  # type: ignore[operator]
            if number == 5:
                raise KeyboardInterrupt
            yield result

    monkeypatch.setattr("train.detect.detect", interrupted)
    with pytest.raises(KeyboardInterrupt):
        main([str(trained_run), str(tmp_path / "pictures"), "--out", str(tmp_path / "out"), "--format", "json,csv"])
    assert len(json.loads((tmp_path / "out/detections.json").read_text())) == 5
    assert (tmp_path / "out/detections.csv").read_text().startswith("source,width,height,class,score,left")


def test_thresholds_come_from_scores(trained_run: Path, tmp_path: Path) -> None:
    detector = load_detector(trained_run)
    classes = {"circle": {"at score": 0.25}, "ring": {"at score": None}}
    (tmp_path / "scores.json").write_text(json.dumps({"sides": {"416": {"classes": classes}}}))
    assert read_thresholds(str(tmp_path / "scores.json"), detector).tolist() == [0.25, 0.3]
    assert read_thresholds("0.5", detector).tolist() == [0.5, 0.5]
    for text, message in (
        ("half", r"expected a score such as 0\.3, 0 to 1, or scores\.json"),
        ("30", r"expected a score such as 0\.3, 0 to 1, or scores\.json"),
        (f"{tmp_path}/nothing.json", "expected scores.json of train.score for the classes circle, ring"),
        (f"{tmp_path}/other.json", "expected scores.json of train.score for the classes circle, ring"),
    ):
        (tmp_path / "other.json").write_text("[1]")
        with pytest.raises(ValueError, match=message):
            read_thresholds(text, detector)


def test_a_video_comes_back_as_a_video(trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = cv2.VideoWriter(str(tmp_path / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (96, 64))
    for shade in range(0, 250, 25):
        video.write(np.full((64, 96, 3), shade, np.uint8))
    video.release()
    grey(tmp_path, "still.png")
    (tmp_path / "broken.avi").write_bytes(b"no video")
    with pytest.raises(ValueError, match=r"broken\.avi does not decode: expected a video"):
        main([str(trained_run), *(str(tmp_path / name) for name in ("broken.avi", "clip.mp4", "still.png")), "--out",
              str(tmp_path / "out")])  # fmt: skip
    records = json.loads((tmp_path / "out/detections.json").read_text())
    assert [*records] == [f"{tmp_path}/still.png", *(f"{tmp_path}/clip.mp4#{number}" for number in range(10))]
    assert all(len(record["detections"]) > 10 for record in records.values())
    seen = cv2.VideoCapture(str(tmp_path / "out/clip.mp4"))
    assert (seen.get(cv2.CAP_PROP_FRAME_COUNT), seen.get(cv2.CAP_PROP_FPS)) == (10, 10)
    assert "11 images; for each decoding" in capsys.readouterr().out
