// Images that somebody picked, to begin with, and one that nobody picked beside them.

import { inLanguage, language, say } from "./language.js";
import { sourceKey } from "./state.js";

export class Openings {
  /** `element` is its part of the page; `page` is what the explorer lets its parts see and do. */
  constructor(element, page) {
    Object.assign(this, { element, page });
    this.list = element.querySelector("ul");
    this.words = element.querySelector(".words");
    element.querySelector(".any").addEventListener("click", () => this.takeAny());
  }

  show() {
    const { openings, checkpoint } = this.page.lab();
    this.element.hidden = openings.length === 0;
    if (this.element.hidden) return;
    const offer = `${checkpoint} ${language()}`;
    if (this.offered !== offer) this.offer(openings);
    this.offered = offer;
    const { source } = this.page.state();
    const key = sourceKey(source);
    const at = openings.findIndex((one) => sourceKey(one.source) === key);
    [...this.list.children].forEach((item, index) => item.firstChild.setAttribute("aria-pressed", String(index === at)));
    this.words.textContent = this.about(openings[at], source);
  }

  about(opening, source) {
    if (opening) return inLanguage(opening.sentence);
    if (this.drawn !== undefined && this.drawn === source.seed) return say("Nobody picked this image: its seed and class are random.");
    return say("Picked by hand, because they show something. Random shows what is usual.");
  }

  offer(openings) {
    this.list.replaceChildren(...openings.map((opening, index) => {
      const item = document.createElement("li");
      const button = Object.assign(document.createElement("button"), { type: "button", title: inLanguage(opening.sentence) });
      const picture = Object.assign(document.createElement("img"), { src: opening.picture, alt: say("Opening {number}", { number: index + 1 }) });
      button.append(picture);
      button.addEventListener("click", () => this.page.set({ source: opening.source, layer: opening.layer, pins: opening.pins }));
      item.append(button);
      return item;
    }));
  }

  /** An image of a random seed and class, with the pins that any image begins with. */
  takeAny() {
    const { checkpoint, class_names: names, max_seed: most } = this.page.lab();
    const whole = (below) => Math.floor(Math.random() * below);
    this.drawn = whole(most + 1);
    this.page.set({ source: { checkpoint, seed: this.drawn, label: names.length ? whole(names.length) : null }, pins: null });
  }
}
