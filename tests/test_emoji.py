"""The emoji data set: what is read, how it is grouped, drawn and written."""

import json
from collections import Counter
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from sagan_core.data import DataError, load_images
from sagan_core.data_command import main
from sagan_core.emoji import (
    CLASS_SUBGROUPS,
    FONT,
    TEST_FILE,
    ColourFont,
    Emoji,
    build,
    group_classes,
    on_white,
    read_test_file,
)

needs_packages = pytest.mark.skipif(
    not (FONT.is_file() and TEST_FILE.is_file()),
    reason="needs Debian's fonts-noto-color-emoji and unicode-data",
)
LISTED = """
# group: People & Body
# subgroup: hand-single-finger
1F448 1F3FF                ; fully-qualified     # X E1.0 left hand: dark skin tone
261D FE0F                  ; fully-qualified     # X E0.6 index pointing up
261D                       ; unqualified         # X E0.6 index pointing up
# group: Symbols
# subgroup: keycap
002A FE0F 20E3             ; fully-qualified     # X E2.0 keycap: *
# group: Component
# subgroup: skin-tone
1F3FB                      ; component           # X E1.0 light skin tone
"""


def emoji(count, subgroup, group="Group"):
    return [Emoji((0x1F600 + i,), f"{subgroup} {i}", group, subgroup) for i in range(count)]


def test_the_test_file_is_read_with_groups_and_without_other_spellings(tmp_path):
    (tmp_path / "test.txt").write_text(LISTED)
    found, others = read_test_file(tmp_path / "test.txt")
    assert found == [
        Emoji(
            (0x1F448, 0x1F3FF), "left hand: dark skin tone", "People & Body", "hand-single-finger"
        ),
        Emoji((0x261D, 0xFE0F), "index pointing up", "People & Body", "hand-single-finger"),
        Emoji((0x2A, 0xFE0F, 0x20E3), "keycap: *", "Symbols", "keycap"),
    ]
    assert others == Counter(unqualified=1, component=1)
    assert found[0].file_name == "left-hand-dark-skin-tone_1f448-1f3ff.png"
    assert found[2].file_name == "keycap-asterisk_2a-fe0f-20e3.png"


def test_no_class_is_small_and_small_ones_join_their_group():
    listed = [
        *emoji(41, "flag", "Flags"),
        *emoji(30, "body-parts", "People & Body"),
        *emoji(45, "hands", "People & Body"),
        *emoji(50, "person", "People & Body"),
        *emoji(3, "a new subgroup", "Flags"),
    ]
    classes = group_classes(listed)
    assert {name: len(members) for name, members in classes.items()} == {
        "flags, other flags": 44,
        "people": 50,
        "two hands, parts of the body": 75,
    }
    with pytest.raises(DataError, match="39 emoji could be drawn, fewer than the 40"):
        group_classes(emoji(39, "flag"))
    assert len(group_classes(emoji(39, "flag"), least=1)["flags"]) == 39


def test_no_subgroup_is_in_two_classes():
    subgroups = " ".join(CLASS_SUBGROUPS.values()).replace(" & ", "_&_").split()
    assert max(Counter(subgroups).values()) == 1


def test_pictures_are_laid_on_white_in_the_middle():
    picture = Image.new("RGBA", (16, 8), (255, 0, 0, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 8, 8))
    pixels = np.asarray(on_white(picture, 16, 16))
    assert (pixels[:4] == 255).all()
    assert (pixels[12:] == 255).all()
    assert (pixels[4:12, :8] == 255).all()
    assert (pixels[4:12, 8:] == (255, 0, 0)).all()
    halved = np.asarray(on_white(picture, 16, 4))
    assert (halved == halved[::-1]).all()
    assert (halved[..., 0] == 255).all()
    assert halved[1, 3, 1] < halved[1, 2, 1] < halved[1, 1, 1]


@needs_packages
def test_sequences_are_one_picture_and_unknown_ones_say_why():
    font = ColourFont(FONT)
    technologist = font.picture((0x1F469, 0x1F3FD, 0x200D, 0x1F4BB))
    assert technologist.size == (136, 128)
    assert technologist.mode == "RGBA"
    assert "lacks" in font.picture((0x4E00,))
    assert "no single picture" in font.picture((0x1F600, 0x1F600))
    everything, _ = read_test_file(TEST_FILE)
    drawn = sum(not isinstance(font.picture(one.codes), str) for one in everything[::40])
    assert drawn == len(everything[::40])


@needs_packages
def test_a_built_folder_is_what_training_reads_and_is_the_same_again(tmp_path, capsys):
    text = TEST_FILE.read_text(encoding="utf-8")
    small = tmp_path / "small.txt"
    people, flags = text.index("# subgroup: hand-prop"), text.index("# group: Flags")
    small.write_text(text[people : text.index("# subgroup: person-gesture")] + text[flags:])
    for name in ("one", "two"):
        options = ["--resolution", "32", "--test-file", str(small), "--least", "18"]
        assert main(["emoji", "--out", str(tmp_path / name), *options]) == 0
    printed = capsys.readouterr().out
    sums = [line for line in printed.splitlines() if line.startswith("SHA-256")]
    assert len(sums) == 2
    assert sums[0] == sums[1]
    assert "503 images" in printed
    data, again = load_images(tmp_path / "one", 32), load_images(tmp_path / "two", 32)
    assert (data.images == again.images).all()
    assert data.class_names == ("fists and thumbs", "flags", "parts of the body", "people")
    assert Counter(data.labels.tolist()) == Counter({0: 18, 1: 269, 2: 48, 3: 168})
    about = json.loads((tmp_path / "one" / "classes.json").read_text())
    assert tuple(about) == data.class_names
    assert [one["images"] for one in about.values()] == [18, 269, 48, 168]
    assert [name for name, one in about.items() if one["one_sided"]] == ["flags"]
    assert (data.images[:, :, 0, 0] == 255).mean() > 0.99


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--font", "none.ttf"], "fonts-noto-color-emoji"),
        (["--test-file", "none.txt"], "unicode-data"),
        (["--resolution", "8"], "resolution is 8; it must be from 16 to 256"),
        (["--out", "."], "is not an empty folder"),
        (["--classes", "flags", "unicorns"], "no class unicorns; there are: arrows and media"),
        (["--font", "pyproject.toml"], "pyproject.toml is not a font"),
        (["--test-file", "pyproject.toml"], "lists no fully-qualified emoji"),
    ],
)
@needs_packages
def test_what_cannot_be_built_says_why_and_leaves_nothing(tmp_path, capsys, options, message):
    before = ["emoji", "--out", str(tmp_path / "new")]
    assert main([*before, *options]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@needs_packages
def test_a_font_without_colour_pictures_is_refused():
    plain = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
    with pytest.raises(DataError, match="no colour bitmaps"):
        ColourFont(plain)


@needs_packages
def test_the_whole_font_is_drawn(tmp_path):
    lines = list(build(tmp_path / "all", 16))
    assert int(lines[0].split()[0].replace(",", "")) > 3600
    sizes = [len(list(folder.glob("*.png"))) for folder in (tmp_path / "all").iterdir()]
    assert min(size for size in sizes if size) >= 40
