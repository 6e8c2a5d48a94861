// Keeping and sharing what is shown: files that the server writes, and the link.

import { linkTo } from "./address.js";
import { say } from "./language.js";

export class Keeping {
  /** `element` is its part of the page; `page` is what the explorer lets its parts see and do. */
  constructor(element, page) {
    Object.assign(this, { page, words: element.querySelector(".saved") });
    for (const button of element.querySelectorAll("[data-save]")) button.addEventListener("click", () => this.save(button.dataset.save));
    element.querySelector(".link").addEventListener("click", () => this.copyLink());
  }

  async save(kind) {
    const { loader, state } = this.page;
    this.words.textContent = say("Writing …");
    try {
      const { path, name } = await loader.ask("save", { state: state(), kind });
      const link = Object.assign(document.createElement("a"), { href: loader.address({ path }), download: name });
      link.click();
      this.words.textContent = say("Saved as {file}.", { file: name });
    } catch (error) {
      this.words.textContent = error.message;
    }
  }

  async copyLink() {
    const link = linkTo(this.page.state());
    try {
      await navigator.clipboard.writeText(link);
      this.words.textContent = say("The link is copied.");
    } catch {
      window.prompt(say("Copy this link:"), link); // no clipboard without https or permission
    }
  }
}
