// What there is to know about the checkpoint that is open, and opening another from a file.

import { make, tableRow } from "./elements.js";
import { language, say, told } from "./language.js";

export class About {
  /** `element` is its part of the page; `page` is what the explorer lets its parts see and do. */
  constructor(element, page) {
    Object.assign(this, { element, page });
    this.find = (selector) => element.querySelector(selector);
    element.addEventListener("toggle", () => element.open && this.show());
    const file = this.find(".theirs");
    file.addEventListener("change", () => file.files[0] && this.open(file.files[0]));
  }

  /** Tell about the checkpoint, if the part is unfolded and something else is told there. */
  async show() {
    const { checkpoint } = this.page.lab();
    const asked = `${language()} ${checkpoint}`;
    if (!this.element.open || this.told === asked) return;
    this.told = asked;
    try {
      this.tell(await this.page.loader.ask("about", checkpoint));
    } catch (error) {
      this.told = null;
      this.find(".recognised").textContent = error.message;
    }
  }

  tell({ name, family, reasons, weights, resolution, classes, networks, norms, warnings }) {
    const count = classes ? say("{count} classes", { count: classes }) : say("no classes");
    const facts = [`${family}, ${resolution}×${resolution}`, count, weights && told(weights)].filter(Boolean);
    this.find(".recognised").textContent = `${name}: ${facts.join(", ")}. ${reasons.map(sentence).join(" ")}`.trim();
    this.find(".remarks").replaceChildren(...warnings.map((text) => make("li", sentence(told(text)), { className: "warning" })));
    this.find(".networks").replaceChildren(...networks.map(table));
    const rows = Object.entries(norms);
    this.find(".norms").hidden = rows.length === 0;
    this.find(".norms tbody").replaceChildren(...rows.map(([layer, norm]) => tableRow([layer, Number(norm.toPrecision(5))])));
  }

  /** Upload a file, with progress, and open it. */
  async open(file) {
    const bar = this.find("progress");
    bar.hidden = false;
    try {
      const path = await upload(`${this.page.loader.root}upload`, file, (part) => { bar.value = part; });
      bar.removeAttribute("value"); // how long opening takes nobody knows
      const { checkpoint } = await this.page.loader.ask("upload_checkpoint", { path });
      this.page.set("source.checkpoint", checkpoint);
    } catch (error) {
      this.page.complain(say("This file cannot be opened. {reason}", { reason: sentence(error.message) }));
    }
    bar.hidden = true;
    bar.value = 0;
  }
}

/** "two words" -> "Two words."; a file's name stays as it is. */
const sentence = (text) => {
  const name = /^\S*\.\w/.test(text);
  return `${name ? text[0] : text.slice(0, 1).toUpperCase()}${text.slice(1).replace(/\.$/, "")}.`;
};

function table({ name, parameters, parts }) {
  const section = document.createElement("div");
  const grid = document.createElement("table");
  const head = document.createElement("thead");
  head.append(tableRow([say("Resolution"), say("Channels"), say("Layer"), say("Parameters"), say("Gamma")], "th"));
  const body = document.createElement("tbody");
  for (const part of parts) {
    const called = part.native && part.native !== part.name ? `${part.name} (${part.native})` : part.name;
    const gamma = part.gamma === null ? "" : Number(part.gamma.toPrecision(3));
    const line = tableRow([`${part.resolution}×${part.resolution}`, part.channels, part.gamma === null ? called : say("attention: {layer}", { layer: called }), part.parameters.toLocaleString("en"), gamma]);
    line.classList.toggle("attention", part.gamma !== null);
    body.append(line);
  }
  grid.append(head, body);
  section.append(make("h3", say("{network}, {count} parameters", { network: told(name), count: parameters.toLocaleString("en") })), grid);
  return section;
}

/** Post a file to Gradio; resolves to its path on the server. `progress` gets a part from 0 to 1. */
function upload(address, file, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const form = new FormData();
    form.append("files", file);
    request.upload.addEventListener("progress", ({ loaded, total }) => progress(loaded / total));
    request.addEventListener("load", () => {
      if (request.status === 200) resolve(JSON.parse(request.responseText)[0]);
      else if (request.status === 413) reject(new Error(say("the file is too large for this page")));
      else reject(new Error(say("the server answered {status}", { status: request.status })));
    });
    request.addEventListener("error", () => reject(new Error(say("the upload was cut off"))));
    request.open("POST", address);
    request.send(form);
  });
}
