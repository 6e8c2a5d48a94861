// Making elements of the page.

/** An element with a text; `more` has other properties of it. */
export function make(name, text = "", more = {}) {
  return Object.assign(document.createElement(name), { textContent: text, ...more });
}

/** A row of a table with a text in each cell. */
export function tableRow(texts, kind = "td") {
  const line = make("tr");
  line.append(...texts.map((text) => make(kind, text)));
  return line;
}
