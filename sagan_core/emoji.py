"""A data set of emoji: a colour-bitmap font's pictures, named and grouped by Unicode's test file.

`python -m sagan_core.data emoji --out FOLDER --resolution 64` draws every fully-qualified emoji of
`emoji-test.txt`, sequences of skin tones, hair, gender and flags included, from Noto Color Emoji:

    FOLDER/pointing hands/index-pointing-up-dark-skin-tone_261d-1f3ff.png
    FOLDER/classes.json      per class: number of images, Unicode's subgroups, whether a mirrored
                             image is one of the class too (`one_sided` where it is not)

HarfBuzz shapes the sequences and hands out the glyphs' own PNG files, so that what is drawn
depends on the font and on Pillow's integer resizing alone: every machine gets the same pixels.

Source: Unicode Technical Standard #51 (sequences, subgroups); OpenType's CBDT and sbix tables.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from .data import CLASSES, DataError

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
TEST_FILE = Path("/usr/share/unicode/emoji/emoji-test.txt")
PACKAGES = {FONT: "fonts-noto-color-emoji", TEST_FILE: "unicode-data"}
LEAST_IMAGES = 40
RESOLUTION_RANGE = (16, 256)

# What a person would call together, of Unicode's subgroups. The starred ones hold writing, notation
# or directions, so that a mirror image of one is none of the class.
CLASS_SUBGROUPS = {
    "cheerful faces": "face-smiling face-affection face-tongue face-hand face-hat face-glasses",
    "unhappy faces": "face-neutral-skeptical face-sleepy face-unwell face-concerned face-negative "
    "face-costume",
    "hearts and shapes": "heart emotion geometric",
    "open hands": "hand-fingers-open",
    "hand signs": "hand-fingers-partial",
    "pointing hands": "hand-single-finger",
    "fists and thumbs": "hand-fingers-closed hand-prop",
    "two hands": "hands",
    "parts of the body": "body-parts",
    "people": "person",
    "gestures": "person-gesture",
    "professions": "person-role",
    "fantasy figures": "person-fantasy",
    "people in motion": "person-activity person-resting",
    "people at sports": "person-sport",
    "couples and families": "family person-symbol",
    "mammals": "animal-mammal cat-face monkey-face",
    "birds, fish and insects": "animal-bird animal-amphibian animal-reptile animal-marine "
    "animal-bug",
    "plants, fruit and vegetables": "plant-flower plant-other food-fruit food-vegetable",
    "dishes": "food-prepared food-asian food-marine",
    "sweets and drinks": "food-sweet drink dishware",
    "places and buildings": "place-map place-geographic place-building place-religious place-other",
    "vehicles": "transport-ground transport-water transport-air",
    "sky and weather": "sky & weather",
    "sports and games": "sport game award-medal",
    "clothing": "clothing",
    "tools and household": "hotel lock tool science medical household other-object",
    "clocks and devices*": "time phone computer light & video",
    "celebrations and music*": "event arts & crafts sound music musical-instrument",
    "books, mail and office*": "book-paper money mail writing office",
    "signs*": "transport-sign religion zodiac gender",
    "arrows and media buttons*": "arrow av-symbol",
    "letters and digits*": "alphanum keycap",
    "warnings and symbols*": "warning math punctuation currency other-symbol",
    "flags*": "flag country-flag subdivision-flag",
}


@dataclass(frozen=True)
class Emoji:
    """One emoji of Unicode's test file.

    Attributes:
        codes: its code points.
        name: its own name, as "index pointing up: dark skin tone".
        group, subgroup: Unicode's, as "People & Body" and "hand-single-finger".
    """

    codes: tuple[int, ...]
    name: str
    group: str
    subgroup: str

    @property
    def file_name(self) -> str:
        """Its name and code points in plain ASCII, as a PNG file's name."""
        plain = unicodedata.normalize("NFKD", self.name).encode("ascii", "ignore").decode()
        words = re.sub(r"[^A-Za-z0-9#*]+", "-", plain.replace("*", "asterisk")).strip("-")
        return f"{words.replace('#', 'number')}_{'-'.join(f'{code:x}' for code in self.codes)}.png"


def read_test_file(path: Path) -> tuple[list[Emoji], Counter[str]]:
    """The fully-qualified emoji of an `emoji-test.txt`, and how many others of which status.

    Raises DataError for a file that is missing or lists none.
    """
    _require_file(path, TEST_FILE, "emoji test file")
    line_form = re.compile(r"([0-9A-F ]+);\s*([a-z-]+)\s*# \S+ (?:E\d+\.\d+ )?(.+)")
    found: list[Emoji] = []
    others: Counter[str] = Counter()
    group = subgroup = ""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("# group: "):
            group = line.removeprefix("# group: ").strip()
        elif line.startswith("# subgroup: "):
            subgroup = line.removeprefix("# subgroup: ").strip()
        elif match := line_form.fullmatch(line.strip()):
            codes, status, name = match.groups()
            if status == "fully-qualified":
                numbers = tuple(int(code, 16) for code in codes.split())
                found.append(Emoji(numbers, name, group, subgroup))
            else:
                others[status] += 1
    if not found:
        raise DataError(
            f"{path} lists no fully-qualified emoji; an emoji-test.txt as Unicode publishes it is "
            f"expected (Debian's package {PACKAGES[TEST_FILE]} has one)"
        )
    return found, others


def _require_file(path: Path, usual: Path, what: str) -> None:
    if not path.is_file():
        raise DataError(
            f"no {what} at {path} (Debian's package {PACKAGES[usual]} installs {usual})"
        )


class ColourFont:
    """A font whose glyphs are colour pictures (PNG in a CBDT or sbix table).

    Raises DataError for a file that is missing, no font, or without colour pictures.
    """

    def __init__(self, path: Path) -> None:
        _require_file(path, FONT, "font")
        try:
            import uharfbuzz
        except ImportError as error:
            raise DataError("shaping emoji needs HarfBuzz: pip install uharfbuzz") from error
        self._harfbuzz: Any = uharfbuzz
        face = uharfbuzz.Face(uharfbuzz.Blob.from_file_path(path))
        if not face.glyph_count:
            raise DataError(f"{path} is not a font")
        if not {"CBDT", "sbix"} & set(face.table_tags):
            raise DataError(
                f"{path} has no colour bitmaps (a CBDT or sbix table); Noto Color Emoji has, which "
                f"Debian's package {PACKAGES[FONT]} installs"
            )
        self._font = uharfbuzz.Font(face)

    def picture(self, codes: Sequence[int]) -> Image.Image | str:
        """The RGBA picture of a sequence, or why there is none."""
        buffer = self._harfbuzz.Buffer()
        buffer.add_codepoints(list(codes))
        buffer.guess_segment_properties()
        buffer.flags = self._harfbuzz.BufferFlags.REMOVE_DEFAULT_IGNORABLES
        self._harfbuzz.shape(self._font, buffer)
        glyphs = [info.codepoint for info in buffer.glyph_infos]
        if 0 in glyphs:
            return "the font lacks a character of it"
        if len(glyphs) != 1:
            return "the font joins its characters into no single picture"
        blob = self._font.get_glyph_color_png(glyphs[0])
        if blob is None or not len(blob):
            return "its glyph has no colour bitmap"
        return Image.open(io.BytesIO(blob.data)).convert("RGBA")


def on_white(picture: Image.Image, side: int, resolution: int) -> Image.Image:
    """An RGBA picture centred on a white square of `side` pixels, scaled: RGB (R, R).

    The scaling averages over areas (Hamming's filter), so that edges stay smooth and no ringing
    appears beside them.
    """
    square = Image.new("RGBA", (side, side), "white")
    square.alpha_composite(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return square.convert("RGB").resize((resolution, resolution), Image.Resampling.HAMMING)


def group_classes(emoji: Iterable[Emoji], least: int = LEAST_IMAGES) -> dict[str, list[Emoji]]:
    """Emoji by class, in the order of the classes' names; no class has fewer than `least`.

    Subgroups that are not in `CLASS_SUBGROUPS` (of a newer or another test file) make a class per
    group. Classes that are too small are joined with the smallest other one of their group, or of
    all. Raises DataError where all together are too few.
    """
    known = {
        subgroup: name.rstrip("*")
        for name, subgroups in CLASS_SUBGROUPS.items()
        for subgroup in _subgroups(subgroups)
    }
    classes: dict[str, list[Emoji]] = {}
    for one in emoji:
        name = known.get(one.subgroup, f"other {one.group.lower()}")
        classes.setdefault(name, []).append(one)
    while classes and (small := min(classes, key=lambda name: (len(classes[name]), name))):
        if len(classes[small]) >= least:
            break
        members = classes.pop(small)
        if not classes:
            raise DataError(
                f"{len(members)} emoji could be drawn, fewer than the {least} that a class needs"
            )
        groups = {one.group for one in members}
        near = [name for name, others in classes.items() if groups & {one.group for one in others}]
        partner = min(near or classes, key=lambda name: (len(classes[name]), name))
        classes[f"{partner}, {small}"] = classes.pop(partner) + members
    return dict(sorted(classes.items()))


def _subgroups(text: str) -> list[str]:
    """Names between spaces; "arts & crafts" is one."""
    return [name.replace("_", " ") for name in text.replace(" & ", "_&_").split()]


def _one_sided(members: Iterable[Emoji]) -> bool:
    starred = {
        subgroup
        for name, subgroups in CLASS_SUBGROUPS.items()
        if name.endswith("*")
        for subgroup in _subgroups(subgroups)
    }
    return any(one.subgroup in starred for one in members)


def build(
    folder: Path,
    resolution: int,
    font: Path = FONT,
    test_file: Path = TEST_FILE,
    least: int = LEAST_IMAGES,
    wanted: Sequence[str] = (),
) -> Iterator[str]:
    """Write the data set into a new folder; yields, line by line, what was done and left out.

    Only the classes in `wanted` where it names some.

    Raises DataError for a source that is missing or unusable, a folder that is not empty, a class
    that there is not, or a resolution out of range.
    """
    folder = folder.expanduser()
    smallest, largest = RESOLUTION_RANGE
    if not smallest <= resolution <= largest:
        raise DataError(f"resolution is {resolution}; it must be from {smallest} to {largest}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} is not an empty folder; give a new one with --out")
    listed, others = read_test_file(test_file)
    pictures = ColourFont(font)
    drawn: dict[Emoji, Image.Image] = {}
    failed: dict[str, list[str]] = {}
    for one in tqdm(listed, "shaping", leave=False, disable=None):
        picture = pictures.picture(one.codes)
        if isinstance(picture, str):
            failed.setdefault(picture, []).append(one.name)
        else:
            drawn[one] = picture
    classes = group_classes(drawn, least)
    if unknown := sorted(set(wanted) - set(classes)):
        raise DataError(f"no class {', '.join(unknown)}; there are: {'; '.join(classes)}")
    classes = {name: members for name, members in classes.items() if name in wanted or not wanted}
    drawn = {one: drawn[one] for members in classes.values() for one in members}
    checksum = _write(folder, classes, drawn, resolution)

    yield f"{len(drawn):,} images of {resolution}x{resolution} pixels in {folder}"
    for name, members in classes.items():
        yield f"  {len(members):4d}  {name}"
    yield f"left out of {test_file.name}:"
    yield from (f"  {count} {status}: {REASONS[status]}" for status, count in others.items())
    for reason, names in failed.items():
        yield f"  {len(names)}: {reason} ({', '.join(names[:5])}{', ...' * (len(names) > 5)})"
    repeated = len(drawn) - len({picture.tobytes() for picture in drawn.values()})
    if repeated:
        yield f"{repeated} images look as another one does, and are kept"
    yield f"SHA-256 of names and pixels: {checksum}"


REASONS = {
    "component": "a skin tone or hair alone, no emoji of its own",
    "minimally-qualified": "another spelling of an emoji that is in",
    "unqualified": "another spelling of an emoji that is in",
}


def _write(
    folder: Path,
    classes: dict[str, list[Emoji]],
    drawn: dict[Emoji, Image.Image],
    resolution: int,
) -> str:
    """Write images and `classes.json`, all or nothing; the checksum of what was written."""
    side = max(max(picture.size) for picture in drawn.values())
    checksum = hashlib.sha256()
    folder = folder.absolute()
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    for name, members in classes.items():
        (unfinished / name).mkdir(parents=True)
        for one in sorted(members, key=lambda one: one.file_name):
            image = on_white(drawn[one], side, resolution)
            image.save(unfinished / name / one.file_name)
            checksum.update(f"{name}/{one.file_name}".encode() + image.tobytes())
    about = {
        name: {
            "images": len(members),
            "subgroups": list(dict.fromkeys(one.subgroup for one in members)),
            "one_sided": _one_sided(members),
        }
        for name, members in classes.items()
    }
    text = json.dumps(about, indent=1, ensure_ascii=False) + "\n"
    (unfinished / CLASSES).write_text(text, encoding="utf-8")
    if folder.exists():
        folder.rmdir()
    unfinished.rename(folder)
    return checksum.hexdigest()


def add_command(commands: Any) -> None:
    """Add the `emoji` command to the parsers of `python -m sagan_core.data`."""
    command: argparse.ArgumentParser = commands.add_parser(
        "emoji",
        help="build a data set of emoji from a colour font",
        description="Draw every emoji of Unicode's test file from a colour-bitmap font, on white, "
        "in folders that are classes. Train on it with --data FOLDER.",
    )
    command.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new folder")
    command.add_argument(
        "--resolution", type=int, default=64, metavar="PIXELS", help="16 to 256 (default 64)"
    )
    command.add_argument(
        "--font",
        type=Path,
        default=FONT,
        metavar="FILE",
        help=f"with CBDT or sbix bitmaps (default: of Debian's {PACKAGES[FONT]})",
    )
    command.add_argument(
        "--test-file",
        type=Path,
        default=TEST_FILE,
        metavar="FILE",
        help=f"emoji-test.txt (default: of Debian's {PACKAGES[TEST_FILE]})",
    )
    command.add_argument(
        "--least",
        type=int,
        default=LEAST_IMAGES,
        metavar="N",
        help=f"images in the smallest class; smaller ones are joined (default {LEAST_IMAGES})",
    )
    command.add_argument(
        "--classes", nargs="+", default=(), metavar="CLASS", help="only these (default: all)"
    )
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    sources = options.font, options.test_file
    for line in build(options.out, options.resolution, *sources, options.least, options.classes):
        print(line)
