// The language that the page speaks. Sentences stand in the code in English and are looked up as they
// stand, so that a sentence without a translation is still a sentence.

let catalogue = {};
let language = "en";

/**
 * A sentence in the page's language; {name} in it becomes the value of that name.
 *
 *     say("Loading {done} of {total}", { done: 2, total: 9 })
 */
export function say(sentence, values = {}) {
  const words = catalogue[sentence] ?? sentence;
  return words.replace(/\{(\w+)\}/g, (hole, name) => (name in values ? String(values[name]) : hole));
}

/** Speak another language ("ko"), with {English sentence: translation}. */
export function speak(name, translations) {
  language = name;
  catalogue = translations;
}

/** What holds the same words in several languages, {en, ko}, in the page's own. */
export function inLanguage(words) {
  return words[language] ?? words.en;
}
