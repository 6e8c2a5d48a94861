// The address bar holds what is shown, so that a reload or a shared link shows it again.
// `view.py` reads it.

/** The query string of a state as `Explorer.state` gives it. */
export function queryString(state) {
  const query = new URLSearchParams();
  if (state.label !== null) query.set("class", state.label);
  query.set("seed", state.seed);
  query.set("truncation", state.truncation);
  query.set("layer", state.layer);
  query.set("pins", state.pins.map((cell) => cell.join(".")).join(","));
  if (state.baseline !== "uniform") query.set("compare", state.baseline);
  query.set("opacity", state.opacity);
  return query.toString();
}

/** Does the address say what to show? */
export function addressIsSet(search = window.location.search) {
  const query = new URLSearchParams(search);
  return ["class", "seed", "truncation", "layer", "pins", "compare", "opacity"].some((key) => query.has(key));
}

let waiting = 0;

/** Put a state into the address bar, at most every quarter of a second: browsers limit the rate. */
export function showInAddress(state) {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    const query = new URLSearchParams(queryString(state));
    for (const [key, value] of new URLSearchParams(window.location.search)) {
      if (key.startsWith("__")) query.append(key, value); // Gradio's own, such as __theme
    }
    const search = `?${query}`;
    window.history.replaceState(window.history.state, "", search + window.location.hash);
    // On a Hugging Face Space the page sits in a frame; its host shows the same query.
    if (window.parent !== window) window.parent.postMessage({ queryString: query.toString() }, "https://huggingface.co");
  }, 250);
}
