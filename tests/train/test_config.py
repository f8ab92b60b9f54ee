"""The configuration: what is loaded, and what a person reads who has mistyped something."""

from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from launch.keys import Key, keys_of
from tests.conftest import ROOT
from train.config import VOC_ANCHORS, Config, flat, load, save
from train.keys.aliases import ALIASES
from train.keys.problems import RANGES

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
LEAST = "run: runs/x\ndata: {train: shards/train, val: shards/val}\n"


@pytest.fixture
def least(tmp_path: Path) -> Path:
    """A file of only what must be said."""
    return written(tmp_path, LEAST)


def written(folder: Path, text: str) -> Path:
    path = folder / "some.yaml"
    path.write_text(text)
    return path


def refusal(path: Path, *overrides: str) -> str:
    """The one line that is shown for a ValueError."""
    with pytest.raises(ValueError, match=r".+") as caught:
        load(path, list(overrides))
    assert type(caught.value) is ValueError
    text = str(caught.value)
    assert "\n" not in text and "object_type" not in text and "omegaconf" not in text.lower(), text
    assert caught.value.__suppress_context__ or caught.value.__context__ is None  # nobody sees a trace of two errors
    return text


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_of_the_project_loads(path: Path) -> None:
    config = load(path, [])
    assert config.run and config.num_anchors == 5


def test_there_are_configs_to_load() -> None:
    assert CONFIGS


def test_the_rest_are_the_defaults_of_darknet(least: Path) -> None:
    config = load(least, ["recipe=darknet"])
    assert (config.run, config.data.train, config.data.val) == ("runs/x", "shards/train", "shards/val")
    assert (config.epochs, config.data.batch, config.schedule.rate, config.model.variant) == (160, 64, 1e-3, "yolov2")
    assert config.anchors == VOC_ANCHORS
    assert config.anchor_pairs[1] == (3.19275, 4.00944)
    assert config.drawn is None


def test_the_file_goes_over_the_defaults_and_the_command_line_over_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, LEAST + "epochs: 3\nmodel: {width: 0.5}\nschedule: {drop_images: [1, 2]}\n")
    overrides = [
        "epochs=4",
        "data.sides=[32,64]",
        "model.variant=tiny-voc",
        "run=a=b",
        "step.decay=1e-3",
        "weights=null",
    ]
    config = load(path, overrides)
    assert (config.epochs, config.model.width, config.schedule.drop_images) == (4, 0.5, [1, 2])
    assert (config.data.sides, config.model.variant, config.run, config.step.decay) == (
        [32, 64],
        "tiny-voc",
        "a=b",
        1e-3,
    )


@pytest.mark.parametrize("key", [key for key in keys_of(Config) if key.unit in RANGES], ids=lambda key: key.name)
def test_numbers_that_their_unit_does_not_have_are_refused(least: Path, key: Key) -> None:
    for value in (-60, 60 if key.unit in ("IoU", "score", "probability") else -1000):
        drawn = ["drawn.pictures=x"] * key.name.startswith("drawn")
        assert f"{key.name.rpartition('.')[2]}={value}" in refusal(least, *drawn, f"{key.name}={value}")


def test_a_seed_is_a_word_of_the_generators(least: Path) -> None:
    for seed in (-1, 2**64):
        assert refusal(least, f"seed={seed}") == f"{least}: seed={seed}: expected 0 to 2^63 - 1"


def test_a_section_may_be_called_in_from_the_command_line(least: Path) -> None:
    config = load(least, ["drawn.pictures=pictures", "drawn.train=7"])
    assert config.drawn is not None
    assert (config.drawn.pictures, config.drawn.train, config.drawn.val) == ("pictures", 7, 200)


#: Keys as people mistype, misplace or know them, and the one that was meant
WRONG_KEYS = [
    ("epoch", "epochs"),
    ("data.bach", "data.batch"),
    ("model.varient", "model.variant"),
    ("schedule.drop_image", "schedule.drop_images"),
    ("data.augment.jiter", "data.augment.jitter"),
    ("batch", "data.batch"),
    ("lr", "schedule.rate"),
    ("lr0", "schedule.rate"),
    ("step.lr", "schedule.rate"),
    ("learning_rate", "schedule.rate"),
    ("batch-size", "data.batch"),
    ("imgsz", "data.sides"),
    ("workers", "data.workers"),
    ("data.jitter", "data.augment.jitter"),
    ("augment.mosaic", "data.augment.mosaic"),
    ("weight_decay", "step.decay"),
    ("optimizer", "step.optimizer"),
    ("subdivisions", "step.accumulate"),
    ("amp", "step.precision"),
    ("classes", "data.classes"),
    ("data.anchors", "anchors"),
    ("training.epochs", "epochs"),
    ("output_dir", "run"),
    ("loss.momentum", "step.momentum"),
    ("height", "evaluate.height"),
    ("evalute.side", "evaluate.side"),
    ("schedule.burnin", "schedule.burn_in"),
]


@pytest.mark.parametrize(("key", "meant"), WRONG_KEYS, ids=lambda value: value)
def test_an_unknown_key_is_named_with_the_one_that_was_meant(tmp_path: Path, key: str, meant: str) -> None:
    *sections, name = key.split(".")
    from_command_line = refusal(written(tmp_path, LEAST), f"{key}=3")
    lines = [f"{'  ' * depth}{section}:" for depth, section in enumerate(sections)]
    lines.append(f"{'  ' * len(sections)}{name}: 3")
    required = "run: r\n" + ("" if sections[:1] == ["data"] else "data: {train: a, val: b}\n")
    from_file = refusal(written(tmp_path, required + "\n".join(lines)))
    for text in (from_command_line, from_file):
        assert text.startswith(f"{tmp_path}/some.yaml: {key}=3: unknown key {key}; did you mean {meant}? ")


def test_other_programs_keys_lead_to_keys_that_exist(least: Path) -> None:
    known = {key.name for key in keys_of(Config)}
    assert set(ALIASES.values()) <= known
    assert not set(ALIASES) & {name.rpartition(".")[2] for name in known}  # never asked for


def test_a_key_that_resembles_none_is_named_too(least: Path) -> None:
    assert refusal(least, "zzz=1").endswith("zzz=1: unknown key zzz; python -m train.config lists all keys")
    assert "unknown key loss.zzz;" in refusal(least, "loss.zzz=1")


@pytest.mark.parametrize(
    ("override", "answer"),
    [
        ("epochs=many", "epochs=many: expected a whole number (epochs)"),
        ("seed=1.5", "seed=1.5: expected a whole number (number)"),
        ("data.batch=[1,2]", "data.batch=[1,2]: expected a whole number (images)"),
        ("data.batch=null", "data.batch=null: expected a whole number (images)"),
        ("schedule.rate=fast", "schedule.rate=fast: expected a number (rate)"),
        ("schedule.drop_images=[a]", "schedule.drop_images=[a]: expected a list of whole numbers or null (images)"),
        ("data.sides=abc", "data.sides=abc: expected a list of whole numbers (px)"),
        ("data.sides=416", "data.sides=416: expected a list of whole numbers (px), as in data.sides=[416]"),
        ("run=null", "run=null: expected text"),
        ("run=[a]", "run=[a]: expected text"),
        ("data=null", "data=null: expected a section, such as data: {train: ...}"),
        ("data=voc", "data=voc: expected a section, such as data: {train: ...}"),
        ("model=tiny", "model=tiny: expected a section, such as model: {variant: ...}"),
        ("data.batch.x=3", "data.batch={'x': 3}: expected a whole number (images)"),
        ("step.recompute=perhaps", "step.recompute=perhaps: expected true or false"),
        ("loss.softmax=2.5", "loss.softmax=2.5: expected true or false"),
        ("step.clip_norm=big", "step.clip_norm=big: expected a number or null (norm)"),
        ("model.variant=foo", "model.variant=foo: expected yolov2, yolov2-2016, tiny-voc or tiny-coco"),
        ("model.passthrough=foo", "model.passthrough=foo: expected space_to_depth or reorg"),
        ("step.precision=half", "step.precision=half: expected auto, fp32, bf16 or fp16"),
        ("step.precision=16", "step.precision=16: expected auto, fp32, bf16 or fp16"),
        ("step.compile=foo", "step.compile=foo: expected auto, yes or no"),
        ("data.resize=foo", "data.resize=foo: expected letterbox, stretch, darknet-letterbox or darknet-stretch"),
        ("recipe=best", "recipe=best: expected darknet or scratch"),
    ],
)
def test_a_value_of_another_type_is_answered_with_what_may_stand_there(
    tmp_path: Path, override: str, answer: str
) -> None:
    path = written(tmp_path, LEAST)
    assert refusal(path, override) == f"{path}: {answer}"


@pytest.mark.parametrize(("word", "expected"), [("yes", "yes"), ("no", "no"), ("'no'", "no"), ("auto", "auto")])
def test_yes_and_no_are_words_where_a_key_has_them(least: Path, word: str, expected: str) -> None:
    assert load(least, [f"step.compile={word}"]).step.compile == expected


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("data: {train: a, val: b}", "run"),
        ("run: r", "data.train"),
        ("run: r\ndata: {val: b}", "data.train"),
        ("run: r\ndata: {train: a}", "data.val"),
        (LEAST + "drawn: {train: 3}", "drawn.pictures"),
        ("", "run"),
    ],
)
def test_what_must_be_said_is_asked_for(tmp_path: Path, text: str, missing: str) -> None:
    answer = refusal(written(tmp_path, text))
    assert f": {missing}: expected text (folder" in answer and answer.endswith(f"or as {missing}=...")


def test_what_is_missing_in_the_file_may_come_from_the_command_line(tmp_path: Path) -> None:
    assert load(written(tmp_path, ""), ["run=r", "data.train=a", "data.val=b"]).run == "r"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "no config at configs/dmeo.yaml; configs/ holds those" in refusal(Path("configs/dmeo.yaml"))
    assert f"no config at {tmp_path}" in refusal(tmp_path)


def test_an_override_without_a_value_is_named(least: Path) -> None:
    assert refusal(least, "epochs=3", "--resume") == "'--resume': expected key=value, such as data.batch=32"


@pytest.mark.parametrize("text", ["run: [\n", "run: r\n\tepochs: 3\n", "run: a\nrun: b\n"])
def test_a_mistake_in_the_yaml_is_named_with_its_line(tmp_path: Path, text: str) -> None:
    answer = refusal(written(tmp_path, text))
    assert "some.yaml" in answer and "line 2" in answer


@pytest.mark.parametrize("content", [b"- run\n- data\n", b"42\n", b"\xff\xfe\x00r", b"just a sentence"])
def test_a_file_that_is_no_config_at_all_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "some.yaml"
    path.write_bytes(content)
    assert "some.yaml" in refusal(path)


@pytest.mark.parametrize(
    ("override", "answer"),
    [
        ("epochs=0", "epochs=0: expected at least 1"),
        ("anchors=[a]", "anchors=['a']: expected pairs w, h in grid cells of 32 px, or auto"),
        ("anchors=some", "anchors=some: expected pairs w, h in grid cells of 32 px, or auto"),
        ("data.truth_slots=many", "data.truth_slots=many: expected a number of objects, or auto"),
        ("model.bn_momentum=some", "model.bn_momentum=some: expected a share between 0 and 1, or auto"),
        ("model.bn_momentum=1.5", "model.bn_momentum=1.5: expected a share between 0 and 1, or auto"),
        ("evaluate.every_epochs=0", "evaluate.every_epochs=0: expected at least 1, or auto"),
        ("evaluate.patience=0", "evaluate.patience=0: expected at least 1, or null"),
        ("checkpoint.every_minutes=0", "checkpoint.every_minutes=0.0: expected more than 0"),
        ("step.clip_norm=0", "step.clip_norm=0.0: expected a norm above 0, or null"),
        ("step.betas=[0.9]", "step.betas=[0.9], momentum=0.9: expected two betas"),
        ("step.ema=long", "step.ema=long: expected a duration such as '1600 images'"),
        ("schedule.burn_in=long", "schedule.burn_in=long: expected a duration such as '1600 images'"),
        ("anchors=[1,2,3]", "anchors=[1.0, 2.0, 3.0]: expected pairs w, h in grid cells of 32 px"),
        (
            "anchors=[10,13,62,45]",
            "at most 38, twice the largest input; if these are pixels, divide them by 32",
        ),
        ("anchors=[1,0]", "expected w, h in grid cells of 32 px, above 0"),
        ("anchors=[]", "anchors=[]: expected pairs w, h in grid cells of 32 px"),
        ("data.sides=[416,100]", "data.sides=[416, 100]: expected multiples of 32 px, the stride of the network"),
        ("data.sides=[0]", "data.sides=[0]: expected multiples of 32 px, the stride of the network"),
        ("data.sides=[]", "data.sides=[]: expected multiples of 32 px, the stride of the network"),
        ("data.batch=0", "data.batch=0: expected at least 1"),
        ("data.batches_per_side=0", "data.batches_per_side=0: expected at least 1"),
        ("data.truth_slots=-1", "data.truth_slots=-1: expected at least 1"),
        ("data.window=0", "data.window=0: expected at least 1"),
        ("data.augment.jitter=0.5", "data.augment.jitter=0.5: expected a share of the side, 0 <= jitter < 0.5"),
        ("data.augment.scale_min=0", "expected 0 < min <= max"),
        ("data.augment.saturation=0.5", "expected factors >= 1"),
        ("data.augment.exposure=0.5", "expected factors >= 1"),
        ("model.width=0", "model.width=0.0: expected 0 < width <= 4; 1 is the published network"),
        ("step.accumulate=0", "step.accumulate=0: expected at least 1"),
        ("evaluate.side=400", "evaluate.side=400: expected a multiple of 32 px, the stride of the network"),
        ("checkpoint.keep=1", "checkpoint.keep=1: expected at least 2, the newest may turn out damaged"),
        ("checkpoint.every_images=0", "checkpoint.every_images=0: expected at least 1"),
        ("board.every_batches=0", "board.every_batches=0: expected at least 1"),
    ],
)
def test_a_number_out_of_range_is_answered_in_the_words_of_its_owner(least: Path, override: str, answer: str) -> None:
    assert answer in refusal(least, override)


def sections_of(config: Any) -> list[Any]:
    own = [getattr(config, item.name) for item in fields(config)]
    return [config] + [section for value in own if is_dataclass(value) for section in sections_of(value)]


def test_a_saved_config_loads_as_the_same(tmp_path: Path, least: Path) -> None:
    for number, path in enumerate([*CONFIGS, least]):
        config = load(path, ["seed=3", "data.classes=[cat,'no']", "schedule.rate=1.0e-05", "step.compile='no'"])
        saved = tmp_path / "new" / f"{number}.yaml"
        save(config, saved)
        assert load(saved, []) == config
        assert config.data.classes == ["cat", "no"]


def test_nothing_in_a_loaded_config_can_be_set(least: Path) -> None:
    sections = sections_of(load(least, ["drawn.pictures=p"]))
    assert len(sections) == 11  # Config, its nine sections and data.augment
    for section in sections:
        with pytest.raises(FrozenInstanceError):
            setattr(section, fields(section)[0].name, None)


def test_a_config_can_be_spread_flat(least: Path) -> None:
    config = load(least, ["recipe=darknet"])
    spread = flat(config)
    assert spread["run"] == "runs/x" and spread["data.batch"] == 64 and spread["data.augment.jitter"] == 0.3
    assert spread["drawn"] is None and spread["anchors"] == VOC_ANCHORS
    assert not any(is_dataclass(value) for value in spread.values())
    assert flat(load(least, ["drawn.pictures=p"]))["drawn.pictures"] == "p"


def test_a_checkpoint_must_agree_on_what_shapes_the_network(least: Path) -> None:
    network = load(least, ["model.width=0.5", "recipe=darknet"]).network(("cat", "dog"))
    assert network == {
        "variant": "yolov2",
        "passthrough": "space_to_depth",
        "width": 0.5,
        "anchors": VOC_ANCHORS,
        "classes": ["cat", "dog"],
    }
    assert load(least, ["epochs=3", "data.batch=8", "recipe=darknet"]).network(()) == load(
        least, ["recipe=darknet"]
    ).network(())


def test_a_config_can_be_made_in_python(least: Path) -> None:
    config = load(least, ["recipe=darknet"])
    assert Config(run=config.run, data=config.data) == config


def test_a_command_in_a_file_is_not_run_unless_it_was_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, "run: r\ndata: {train: a, val: 'pipe:touch {}'}\n")
    assert "data.val is a command, 'pipe:touch {}', and commands in a config are not run" in refusal(path)
    assert "data.val is a command" in refusal(path, "data.train=pipe:cat {}")
    assert load(path, ["--allow-pipe"]).data.val == load(path, [], opens_sets=False).data.val == "pipe:touch {}"
    assert load(path, ["data.val='pipe:touch {}'"]).data.val == "pipe:touch {}"
    assert load(path, ["data.val=b"]).data.val == "b"
    path.write_text("run: 'ipe:touch {}'\ndata: {train: a, val: 'p${run}'}\n")
    assert "data.val is a command" in refusal(path)


def test_a_config_sends_nothing_of_the_environment(tmp_path: Path) -> None:
    path = written(tmp_path, "run: r\ndata: {train: a, val: 'http://host/${oc.env:HOME}'}\n")
    assert "oc.env" in refusal(path)
    assert "oc.env" in refusal(written(tmp_path, LEAST), "data.val=http://host/${oc.env:HOME}")


@pytest.mark.parametrize("name", ["${b}", "a\\${b}", "$b {c}", "${", "\\", "${data.train}"])
def test_a_saved_name_refers_to_nothing(tmp_path: Path, least: Path, name: str) -> None:
    """A class may be called ${b}; written as it is, no command would read the run's config again."""
    config = load(least, [])
    config = replace(config, data=replace(config.data, classes=[name]))
    save(config, tmp_path / "saved.yaml")
    assert load(tmp_path / "saved.yaml", []) == config


def test_passwords_and_tokens_are_neither_saved_nor_logged(tmp_path: Path) -> None:
    path = written(
        tmp_path, "run: r\ndata: {train: 'https://h/a?token=secret', val: b}\nweights: https://u:secret@h/w\n"
    )
    config = load(path, [])
    assert config.data.train.endswith("secret")
    save(config, tmp_path / "saved.yaml")
    assert "secret" not in (tmp_path / "saved.yaml").read_text() + str(flat(config))
    assert load(tmp_path / "saved.yaml", []).data.train == "https://h/a"
