// Over training: the same latents and pins at every snapshot, and the curves of training beside them.

import { language, say, told } from "./language.js";
import { plot } from "./plot.js";
import { wholeSource } from "./state.js";

const FRAME = 700; // milliseconds that a snapshot stays while playing

export class Timeline {
  /** `element` is the part of the page; `page` is what the explorer lets its parts see and do. */
  constructor(element, page) {
    Object.assign(this, { element, page });
    this.find = (selector) => element.querySelector(selector);
    this.slider = this.find(".snapshot");
    this.slider.addEventListener("input", () => this.pick(Number(this.slider.value)));
    this.find(".play").addEventListener("click", () => this.play());
    element.addEventListener("toggle", () => (element.open ? this.open() : this.stop()));
  }

  /** Every stop of the slider: the snapshots, then the weights that the page opens with. */
  get stops() {
    return [...this.page.lab().snapshots, "trained"];
  }

  show() {
    const { stops } = this;
    const state = this.page.state();
    this.slider.max = stops.length - 1;
    const at = Math.max(0, stops.findIndex((stop) => stop === wholeSource(state.source).weights));
    this.slider.value = at;
    const words = this.words(stops[at]);
    this.slider.closest("label").querySelector(".amount-now").textContent = words;
    this.slider.setAttribute("aria-valuetext", words);
    this.find(".play").textContent = this.playing ? say("Pause") : say("Play");
    this.mark(stops[at]);
    if (this.element.open && !this.element.hidden) this.open();
  }

  words(stop) {
    if (stop !== "trained") return stop.toLocaleString("en");
    const { trained_images: images } = this.page.lab();
    return images ? say("{images}, the end", { images: images.toLocaleString("en") }) : say("the end");
  }

  pick(at) {
    this.page.set("source.weights", this.stops[at], "snapshot");
  }

  async open() {
    this.prefetch();
    const lab = this.page.lab();
    const asked = `${language()} ${lab.checkpoint}`;
    if (this.drawn === asked) return;
    this.drawn = asked;
    try {
      const { figure } = await this.page.loader.ask("timeline", { checkpoint: lab.checkpoint });
      if (!figure) return;
      name(figure);
      await plot(this.find(".curves"), this.page.plotly(), figure);
      this.marked = null;
      this.show();
    } catch (error) {
      this.drawn = null;
      this.find(".loading").textContent = say("The curves could not be drawn: {reason}.", { reason: error.message });
    }
  }

  /** The line in the curves that follows the slider. */
  mark(stop) {
    const plot = this.find(".curves");
    if (!plot.layout) return;
    const { snapshots, trained_images: end } = this.page.lab();
    const x = stop === "trained" ? (end ?? snapshots.at(-1)) : stop;
    if (this.marked === x) return;
    this.marked = x;
    const line = { type: "line", xref: "x", yref: "paper", x0: x, x1: x, y0: 0, y1: 1, line: { color: getComputedStyle(this.element).color, width: 2 } };
    window.Plotly.relayout(plot, { shapes: [line] });
  }

  /** Fetch every stop's scene, so that scrubbing asks nobody. */
  async prefetch() {
    const source = { ...this.page.state().source, weights: null };
    const wanted = JSON.stringify(source);
    if (this.fetched === wanted) return;
    this.fetched = wanted;
    const { stops } = this;
    for (const [index, weights] of stops.entries()) {
      this.find(".loading").textContent = say("Loading {done} of {total}", { done: index + 1, total: stops.length });
      try {
        await this.page.loader.fetch({ ...source, weights });
      } catch (error) {
        this.fetched = null;
        this.find(".loading").textContent = error.message;
        return;
      }
      if (this.fetched !== wanted) return; // another image was chosen meanwhile
    }
    this.find(".loading").textContent = "";
  }

  play() {
    if (this.playing) return this.stop();
    this.find(".play").textContent = say("Pause");
    let at = Number(this.slider.value) >= this.stops.length - 1 ? -1 : Number(this.slider.value);
    const step = () => {
      this.pick((at += 1));
      if (at >= this.stops.length - 1) this.stop();
    };
    step();
    this.playing = setInterval(step, FRAME);
    return undefined;
  }

  stop() {
    clearInterval(this.playing);
    this.playing = null;
    this.find(".play").textContent = say("Play");
  }
}

/** Put the server's titles in a figure into the language spoken. */
function name({ data, layout }) {
  for (const line of data) line.name = told(line.name);
  for (const [key, { title }] of Object.entries(layout)) if (/^[xy]axis/.test(key) && title) title.text = told(title.text);
  for (const note of layout.annotations) note.text = told(note.text);
}
