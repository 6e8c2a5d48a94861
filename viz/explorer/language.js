// The language that the page speaks. Sentences stand in the code and in the template in English, and
// are looked up as they stand, so that a sentence without a translation is still a sentence.

import { sentences, server } from "./korean.js";

/** The languages that there are, each by its own name. */
export const LANGUAGES = { en: "English", ko: "한국어" };

const CATALOGUES = { en: {}, ko: sentences };
const HEARD = { en: {}, ko: server };
const KEPT = "lens-language";
const SAID_BY = ["aria-label", "title", "placeholder"];

let spoken = "en";
let patterns = [];

/** The code of the language that is spoken. */
export const language = () => spoken;

/**
 * A sentence in the page's language; {name} in it becomes the value of that name.
 *
 *     say("Loading {done} of {total}", { done: 2, total: 9 })
 */
export function say(sentence, values = {}) {
  return filled(CATALOGUES[spoken][sentence] ?? sentence, values);
}

/** What the server said in English: looked up, or matched with the {holes} of a known sentence. */
export function told(text) {
  const exact = HEARD[spoken][text];
  if (exact !== undefined) return exact;
  for (const { expression, words } of patterns) {
    const found = expression.exec(text);
    if (found) return filled(words, Object.fromEntries(Object.entries(found.groups).map(([name, part]) => [name, told(part)])));
  }
  return text;
}

/** What holds the same words in several languages, {en, ko}, in the page's own. */
export function inLanguage(words) {
  return words[spoken] ?? words.en;
}

function filled(words, values) {
  return words.replace(/\{(\w+)\}/g, (hole, name) => (name in values ? String(values[name]) : hole));
}

/** Speak a language of LANGUAGES from now on. What is on the page already has to be said again. */
export function speak(code) {
  spoken = code;
  const holed = Object.entries(HEARD[code]).filter(([sentence]) => sentence.includes("{"));
  patterns = holed.map(([sentence, words]) => ({ expression: expressionOf(sentence), words }));
  document.documentElement.lang = code;
}

/** "Generator {size}" -> /^Generator (?<size>.+?)$/ */
function expressionOf(sentence) {
  const parts = sentence.split(/\{(\w+)\}/);
  const source = parts.map((part, at) => (at % 2 ? `(?<${part}>.+?)` : part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")));
  return new RegExp(`^${source.join("")}$`, "su");
}

/** The address decides, else what was chosen here before, else the browser. */
export function wantedLanguage(search = window.location.search) {
  const known = (code) => code && Object.hasOwn(LANGUAGES, code) && code;
  const browser = navigator.languages.map((tag) => tag.split("-")[0]).find(known);
  return known(new URLSearchParams(search).get("lang")) || known(remembered()) || browser || "en";
}

/** Keep the choice in this browser. */
export function keepLanguage(code) {
  try {
    window.localStorage.setItem(KEPT, code);
  } catch {
    // Where a browser keeps nothing, the choice lasts as long as the page.
  }
}

function remembered() {
  try {
    return window.localStorage.getItem(KEPT);
  } catch {
    return null;
  }
}

const written = new WeakMap(); // node -> {place: {english, words}}
const ENGLISH = Object.fromEntries(Object.entries(sentences).map(([english, words]) => [words, english]));

/**
 * Put the sentences of an element's template into the language spoken, texts and attributes; those
 * that scripts wrote are theirs. What is inside translate="no" stays as it is.
 */
export function translate(root) {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT, (node) =>
    node.translate === false ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT);
  for (let node = walker.currentNode; node; node = walker.nextNode()) {
    if (node.nodeType === Node.TEXT_NODE) rewrite(node, "data", node.data, (words) => { node.data = words; });
    else for (const name of SAID_BY) if (node.hasAttribute(name)) rewrite(node, name, node.getAttribute(name), (words) => node.setAttribute(name, words));
  }
}

function rewrite(node, place, present, write) {
  const before = written.get(node)?.[place];
  const [, start, found, end] = /^(\s*)(.*?)(\s*)$/s.exec(before?.words === present ? before.english : present);
  const sentence = Object.hasOwn(sentences, found) ? found : ENGLISH[found]; // Gradio may have translated it
  if (sentence === undefined) return;
  const english = `${start}${sentence}${end}`;
  const words = `${start}${say(sentence)}${end}`;
  written.set(node, { ...written.get(node), [place]: { english, words } });
  if (words !== present) write(words);
}
