// What there is to know about the checkpoint that is open, and opening another from a file.

export class About {
  /** `element` is its part of the page; `page` gives lab(), opened(name) and complain(words). */
  constructor(element, { loader, page }) {
    Object.assign(this, { element, loader, page });
    this.find = (selector) => element.querySelector(selector);
    element.addEventListener("toggle", () => element.open && this.show());
    const file = this.find(".theirs");
    file.addEventListener("change", () => file.files[0] && this.open(file.files[0]));
  }

  /** Tell about the checkpoint, if the part is unfolded and something else is told there. */
  async show() {
    const { checkpoint } = this.page.lab();
    if (!this.element.open || this.told === checkpoint) return;
    this.told = checkpoint;
    try {
      this.tell(await this.loader.ask("about", checkpoint));
    } catch (error) {
      this.told = null;
      this.find(".recognised").textContent = error.message;
    }
  }

  tell({ name, family, reasons, weights, resolution, classes, networks, norms, warnings }) {
    const facts = [`${family}, ${resolution}×${resolution}`, classes ? `${classes} classes` : "no classes", weights].filter(Boolean);
    this.find(".recognised").textContent = `${name}: ${facts.join(", ")}. ${reasons.map(sentence).join(" ")}`.trim();
    this.find(".remarks").replaceChildren(...warnings.map((text) => {
      const item = element("li", sentence(text));
      item.className = "warning";
      return item;
    }));
    this.find(".networks").replaceChildren(...networks.map(table));
    const rows = Object.entries(norms);
    this.find(".norms").hidden = rows.length === 0;
    this.find(".norms tbody").replaceChildren(...rows.map(([layer, norm]) => row([layer, Number(norm.toPrecision(5))])));
  }

  /** Upload a file, with progress, and open it. */
  async open(file) {
    const bar = this.find("progress");
    bar.hidden = false;
    try {
      const path = await upload(`${this.loader.root}upload`, file, (part) => { bar.value = part; });
      bar.removeAttribute("value"); // how long opening takes nobody knows
      const { checkpoint } = await this.loader.ask("upload_checkpoint", { path });
      this.page.opened(checkpoint);
    } catch (error) {
      this.page.complain(`This file cannot be opened. ${sentence(error.message)}`);
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
  head.append(row(["Resolution", "Channels", "Layer", "Parameters", "Gamma"], "th"));
  const body = document.createElement("tbody");
  for (const part of parts) {
    const called = part.native && part.native !== part.name ? `${part.name} (${part.native})` : part.name;
    const gamma = part.gamma === null ? "" : Number(part.gamma.toPrecision(3));
    const line = row([`${part.resolution}×${part.resolution}`, part.channels, part.gamma === null ? called : `attention: ${called}`, part.parameters.toLocaleString("en"), gamma]);
    line.classList.toggle("attention", part.gamma !== null);
    body.append(line);
  }
  grid.append(head, body);
  section.append(element("h3", `${name}, ${parameters.toLocaleString("en")} parameters`), grid);
  return section;
}

function row(cells, kind = "td") {
  const line = document.createElement("tr");
  line.append(...cells.map((cell) => element(kind, cell)));
  return line;
}

function element(name, text) {
  return Object.assign(document.createElement(name), { textContent: text });
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
      else if (request.status === 413) reject(new Error("the file is too large for this page"));
      else reject(new Error(`the server answered ${request.status}`));
    });
    request.addEventListener("error", () => reject(new Error("the upload was cut off")));
    request.open("POST", address);
    request.send(form);
  });
}
