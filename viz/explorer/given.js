// Images that a person gives, chosen or dropped anywhere on the page: the discriminator looks at them.

import { say } from "./language.js";

export class Given {
  /** `element` is the whole explorer; `page` is what it lets its parts see and do. */
  constructor(element, page) {
    Object.assign(this, { element, page });
    const file = element.querySelector(".drop .image");
    file.addEventListener("change", () => file.files[0] && this.take(file.files[0]));
    element.addEventListener("dragover", (event) => {
      if (page.upload && event.dataTransfer.types.includes("Files")) event.preventDefault();
    });
    element.addEventListener("drop", (event) => {
      if (!page.upload || !event.dataTransfer.files.length) return;
      event.preventDefault();
      this.take(event.dataTransfer.files[0]);
    });
  }

  async take(file) {
    const { page } = this;
    const { checkpoint, discriminator } = page.lab();
    if (!discriminator) return page.complain(say("This checkpoint has no discriminator to look at an image."));
    page.message(say("Reading {file} …", { file: file.name }));
    try {
      const { path } = await page.upload(file);
      const { image } = await page.loader.ask("drop", { path, name: file.name, checkpoint });
      this.element.querySelector("[data-part=discriminator]").open = true;
      page.set("source.image", image);
    } catch (error) {
      page.complain(error.message);
    }
    return undefined;
  }
}
