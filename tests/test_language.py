"""English and Korean: every sentence has both, the page speaks either, and can change its mind."""

from __future__ import annotations

import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import EXPLORER, visit, with_query
from playwright.sync_api import expect

from viz.language import EXPLORER as FOLDER
from viz.language import FOLDERS, LANGUAGES, catalogue, exported
from viz.page import PURPOSE

pytestmark = pytest.mark.filterwarnings("ignore:.*no_silent_downcasting")  # Gradio's own

MODULES = sorted(FOLDER.glob("*.js"))
# Not this.say(), with which the explorer reads aloud what it is given.
SAID = re.compile(r"(?<![.\w])say\(\s*(\"(?:[^\"\\]|\\.)*\")")
HOLE = re.compile(r"\{(\w+)\}")
ENGLISH = re.compile(r"[A-Za-z]{3,} [A-Za-z]{2,}")  # two words of it, one after the other


class Template(HTMLParser):
    """The sentences that stand in the template, but for those that are nobody's language."""

    def __init__(self) -> None:
        super().__init__()
        self.sentences: set[str] = set()
        self.silent: list[bool] = [False]

    def handle_starttag(self, tag, attributes):
        said = dict(attributes)
        silent = self.silent[-1] or said.get("translate") == "no"
        if not silent:
            self.add(*(said.get(name) or "" for name in ("aria-label", "title", "placeholder")))
        if tag not in ("input", "br", "img"):
            self.silent.append(silent)

    def handle_endtag(self, _):
        self.silent.pop()

    def handle_data(self, data):
        if not self.silent[-1]:
            self.add(data)

    def add(self, *texts):
        self.sentences |= {text.strip() for text in texts} - {""}


def static_sentences() -> set[str]:
    template = Template()
    template.feed((FOLDER / "explorer.html").read_text(encoding="utf-8"))
    return template.sentences


def said_by(module: Path) -> set[str]:
    """The sentences that a module says; data that is said is looked for elsewhere."""
    return {json.loads(sentence) for sentence in SAID.findall(module.read_text(encoding="utf-8"))}


def texts_of(data: object) -> set[str]:
    """The sentences of the lesson: all of its texts but for the names of steps and acts."""
    if isinstance(data, dict):
        return set().union(*(texts_of(value) for key, value in data.items() if key != "name"))
    if isinstance(data, list):
        return set().union(*map(texts_of, data))
    return {data} if isinstance(data, str) else set()


def english_sentences() -> set[str]:
    modules = (said_by(module) for module in MODULES if module.name != "language.js")
    lesson = texts_of(exported(FOLDER / "lesson_steps.js"))
    return static_sentences().union({PURPOSE}, lesson, *modules)


@pytest.fixture(scope="module")
def korean(chromium, page):
    with visit(chromium, page.address, locale="ko-KR") as opened:
        yield opened


def test_the_sentences_are_found():
    assert {"Undo", "Keys (?)", "one cell; with Shift four"} <= static_sentences()
    assert "Inferno" not in static_sentences()
    assert "{count} of {most}" in said_by(FOLDER / "pane.js")
    assert len(english_sentences()) > 150


@pytest.mark.parametrize("language", FOLDERS)
def test_every_sentence_has_a_translation(language):
    assert sorted(english_sentences() - catalogue(language).keys()) == []


@pytest.mark.parametrize("file", sorted(FOLDERS["ko"].glob("*.js")), ids=lambda file: file.name)
def test_translations_have_the_same_holes_and_are_used(file):
    for sentence, words in exported(file).items():
        assert words.strip(), sentence
        assert sorted(HOLE.findall(sentence)) == sorted(HOLE.findall(words)), sentence
    assert f'"./korean/{file.name}"' in (FOLDER / "korean.js").read_text(encoding="utf-8")
    if file.name in ("page.js", "lesson.js"):
        assert sorted(exported(file).keys() - english_sentences()) == []


def test_no_two_parts_translate_a_sentence_differently():
    files = [exported(file) for file in sorted(FOLDERS["ko"].glob("*.js")) if file.stem != "server"]
    for first, second in itertools.combinations(files, 2):
        for sentence in first.keys() & second.keys():
            assert first[sentence] == second[sentence]


@pytest.mark.parametrize(
    "said",
    [
        "Generator 32×32",
        "Generator 16×16 (2)",
        "This layer hardly changes the image: its update is 1.2% of the signal.",
        "The map depends on the point (0.70 of 5.5 nats).",
        "gamma ×0.5 in Discriminator 8×8",
        "seed 3 to 5",
        "after 20,000 images",
        "Real image: Bag",
        "holiday.heic cannot be read as an image: it may be damaged.",
    ],
)
def test_what_the_server_says_is_matched_with_its_numbers(korean, said):
    words = korean.page.evaluate(f"async (said) => (await {module('language')}).told(said)", said)
    assert re.search("[가-힣]", words)
    numbers = re.compile(r"\d[\d.,%×]*\d|Bag|heic|\d")
    assert sorted(numbers.findall(said)) == sorted(numbers.findall(words))


def test_what_the_server_says_of_a_real_scene_is_known(korean):
    """Notes, labels and what made the image, as they came."""
    scene = korean.page.evaluate(
        f"""async () => {{
          const {{ told }} = await {module("language")};
          const {{ layers, subtitle }} = {EXPLORER}.panes[0].scene;
          return layers.flatMap(({{ label, notes }}) => [label, ...notes.map(({{ text }}) => text)])
            .concat(subtitle.split(", ").slice(1)).map(told);
        }}"""
    )
    assert len(scene) >= 7
    assert all(re.search("[가-힣]", words) for words in scene)


def module(name: str) -> str:
    return (
        "import(performance.getEntriesByType('resource')"
        f".find(({{ name }}) => name.endsWith('/{name}.js')).name)"
    )


VISIBLE = """() => {
  const silent = (node) => node.translate === false || node.matches?.("select");
  const filter = (node) => silent(node) ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT;
  const lens = document.querySelector(".lens");
  const walker = document.createTreeWalker(lens, NodeFilter.SHOW_ALL, filter);
  const texts = [];
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (node.nodeType === Node.TEXT_NODE) texts.push(node.data);
    else if (node.nodeType === Node.ELEMENT_NODE) {
      texts.push(...["aria-label", "title"].map((name) => node.getAttribute(name) ?? ""));
    }
  }
  return texts;
}"""


def test_in_korean_nothing_is_left_in_english(korean):
    korean.page.evaluate(
        "document.querySelectorAll('.lens details').forEach((one) => { one.open = true; })"
    )
    korean.set(temperature=0.5, measure="value")
    korean.hover(0.4, 0.5)
    korean.frame()
    korean.page.wait_for_function("document.querySelector('.curves').layout")
    said = [re.sub(r"\([^()]*\)", "", text) for text in korean.page.evaluate(VISIBLE)]
    left = [text for text in said if ENGLISH.search(text)]
    names = "SAGAN Lens|BigGAN-PyTorch|blocks|img src|tiny"
    assert [text for text in left if not re.search(names, text)] == []
    assert korean.page.evaluate("document.documentElement.lang") == "ko"
    assert korean.complaints == []


def test_the_switch_changes_everything_back_and_forth(chromium, page):
    with visit(chromium, page.address) as opened:
        at = opened.page
        expect(at.locator("#title p")).to_have_text(PURPOSE)
        before = at.evaluate(VISIBLE)
        for language, undo in (("ko", "되돌리기"), ("en", "Undo"), ("ko", "되돌리기")):
            at.locator(f"[data-language={language}]").press("Enter")
            expect(at.locator(".undo")).to_have_text(undo)
            expect(at.locator(f"[data-language={language}]")).to_have_attribute(
                "aria-pressed", "true"
            )
            assert at.evaluate("document.documentElement.lang") == language
            if language == "en":
                opened.frame()
                assert [text for text in at.evaluate(VISIBLE) if text.strip()] == [
                    text for text in before if text.strip()
                ]
        expect(at.locator("#title p")).to_have_text(catalogue("ko")[PURPOSE])
        at.reload()
        opened.ready()
        expect(at.locator(".undo")).to_have_text("되돌리기")
        assert opened.complaints == []


@pytest.mark.parametrize(
    ("locale", "query", "undo"),
    [
        ("ko-KR", "lang=en", "Undo"),
        ("en-US", "lang=ko&seed=3", "되돌리기"),
        ("fr-FR", "lang=xx", "Undo"),
    ],
)
def test_the_address_decides_else_the_browser(chromium, page, locale, query, undo):
    with visit(chromium, with_query(page.address, query), locale=locale) as opened:
        expect(opened.page.locator(".undo")).to_have_text(undo)
        opened.set(opacity=0.5)
        opened.page.wait_for_url(re.compile("opacity=0.5"))
        assert f"{query[:7]}" in opened.page.url  # a reload speaks the same


def test_gradio_has_the_sentences_of_its_own_part(page):
    given = page.config["i18n_translations"]
    assert set(given) == set(LANGUAGES)
    assert given["ko"][PURPOSE] == catalogue("ko")[PURPOSE]
