// Over training: the same latents and pins at every snapshot, and the curves of training beside them.

import { wholeSource } from "./state.js";

const FRAME = 700; // milliseconds that a snapshot stays while playing

export class Timeline {
  /**
   * `element` is the part of the controls; `page` gives state(), lab(), chosen(images | "trained")
   * when a person picks a snapshot, and `loader`; `plotly()` is the address of plotly's script.
   */
  constructor(element, { loader, page, plotly }) {
    Object.assign(this, { element, loader, page, plotly });
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

  show(state) {
    const { stops } = this;
    this.slider.max = stops.length - 1;
    const at = Math.max(0, stops.findIndex((stop) => stop === wholeSource(state.source).weights));
    this.slider.value = at;
    const words = this.words(stops[at]);
    this.slider.closest("label").querySelector("output").textContent = words;
    this.slider.setAttribute("aria-valuetext", words);
    this.mark(stops[at]);
    if (this.element.open) this.prefetch();
  }

  words(stop) {
    if (stop !== "trained") return stop.toLocaleString("en");
    const { trained_images: images } = this.page.lab();
    return images ? `${images.toLocaleString("en")}, the end` : "the end";
  }

  pick(at) {
    this.page.chosen(this.stops[at]);
  }

  async open() {
    this.prefetch();
    const lab = this.page.lab();
    if (this.drawn === lab.checkpoint) return;
    this.drawn = lab.checkpoint;
    try {
      const [{ figure }] = await Promise.all([this.loader.ask("timeline", { checkpoint: lab.checkpoint }), script(this.plotly())]);
      if (!figure) return;
      const ink = getComputedStyle(this.element).color;
      figure.layout = { ...figure.layout, font: { ...figure.layout.font, color: ink } };
      await window.Plotly.newPlot(this.find(".curves"), figure.data, figure.layout, { displayModeBar: false, responsive: true });
      window.Plotly.Plots.resize(this.find(".curves")); // it measured before it had its place
      this.show(this.page.state());
    } catch (error) {
      this.drawn = null;
      this.find(".loading").textContent = `The curves could not be drawn: ${error.message}.`;
    }
  }

  /** The line in the curves that follows the slider. */
  mark(stop) {
    const plot = this.find(".curves");
    if (!plot.layout) return;
    const { snapshots, trained_images: end } = this.page.lab();
    const x = stop === "trained" ? (end ?? snapshots.at(-1)) : stop;
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
      this.find(".loading").textContent = `Loading ${index + 1} of ${stops.length}`;
      try {
        await this.loader.fetch({ ...source, weights });
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
    this.find(".play").textContent = "Pause";
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
    this.find(".play").textContent = "Play";
  }
}

const loaded = new Map();

/** Load a classic script once. */
function script(address) {
  if (!loaded.has(address)) {
    loaded.set(address, new Promise((resolve, reject) => {
      const element = Object.assign(document.createElement("script"), { src: address });
      element.addEventListener("load", resolve);
      element.addEventListener("error", () => reject(new Error("plotly could not be loaded")));
      document.head.append(element);
    }));
  }
  return loaded.get(address);
}
