"""The lesson's sheet: one page, the lesson's own questions, the page's own image."""

from __future__ import annotations

import re

import pytest

from viz.__main__ import main
from viz.handout import WORDS, handout, questions
from viz.language import EXPLORER, LANGUAGES, exported
from viz.lettering import undrawable
from viz.studio import Studio

ADDRESS = "http://class.example/"


@pytest.fixture(scope="module")
def studio(checkpoint) -> Studio:
    return Studio([checkpoint])


def writable(language: str) -> None:
    if undrawable(WORDS[language]["title"]):
        pytest.skip(f"no font here for {language}")


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_is_one_a4_page_of_text(studio, language):
    writable(language)
    content = handout(studio, studio.beginning(), language, ADDRESS)
    assert len(re.findall(rb"/Type /Page\b(?!s)", content)) == 1
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", content)
    assert box
    assert [float(size) for size in box.groups()] == pytest.approx([595.2, 841.9], abs=0.1)
    assert content.count(b"/Subtype /Image") == 1 + 3 + 1  # image, three maps, bar
    assert b"/FontFile2" in content
    assert b"/Type3" not in content
    if language == "en":
        assert content == handout(studio, studio.beginning(), language, ADDRESS)


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_asks_what_the_lesson_asks(language):
    steps = exported(EXPLORER / "lesson_steps.js")["steps"]
    asked = questions(language, {"queries": 1024})
    assert [minutes for _, minutes, _ in asked] == [step["minutes"] for step in steps]
    assert "1024" in asked[0][2]
    assert not any("{" in part for title, _, question in asked for part in (title, question))
    korean = any(re.search("[가-힣]", question) for _, _, question in asked)
    assert korean == (language == "ko")


def test_it_shows_what_the_page_opens_with(studio):
    """Without openings of its own, the image of `Studio.opening`, with the pins it suggests."""
    assert studio.beginning() == {"source": studio.opening().to_json()}


def test_every_language_has_the_same_words():
    holes = {
        language: {key: sorted(re.findall(r"{(\w+)", text)) for key, text in words.items()}
        for language, words in WORDS.items()
    }
    assert WORDS.keys() == set(LANGUAGES)
    assert holes["ko"] == holes["en"]


def test_what_cannot_be_written_is_named(studio):
    with pytest.raises(ValueError, match="language is 'fr'; it must be one of en, ko"):
        handout(studio, studio.beginning(), "fr", ADDRESS)
    state = {**studio.beginning(), "layer": "discriminator.blocks.0.attention"}
    with pytest.raises(ValueError, match="is about one of the generator"):
        handout(studio, state, "en", ADDRESS)
    long = {**studio.beginning(), "pins": [[0, 0], [1, 1], [2, 2], [3, 3]]}
    assert handout(studio, long, "en", ADDRESS).count(b"/Subtype /Image") == 1 + 3 + 1


def test_the_command_writes_it(tiny, tmp_path, capsys):
    out = tmp_path / "sheet.pdf"
    chosen = ["--checkpoint", str(tiny), "--seed", "3", "--label", "Bag", "--pins", "3,4"]
    assert main(["handout", *chosen, "--address", ADDRESS, "-o", str(out)]) == 0
    assert out.read_bytes().count(b"/Subtype /Image") == 1 + 1 + 1
    assert main(["handout", "--checkpoint", str(tiny), "-o", str(tmp_path / "sheet.txt")]) == 2
    assert "must end in .pdf" in capsys.readouterr().err
