// Scenes from the server: at most one request per pane is under way, the newest wins, and what was
// seen lately is shown again without asking.

import { say, told } from "./language.js";
import { readScene } from "./maths.js";
import { sourceKey } from "./state.js";

const KEPT = 48;

export class Loader {
  /** `server` has the page's functions; `root` is the address before "file=...". */
  constructor(server, root) {
    this.server = server;
    this.root = root;
    this.scenes = new Map(); // key -> scene, the latest last
    this.lanes = new Map(); // lane -> {busy, next}
  }

  /** Take over a scene that came with the page. */
  async adopt(value) {
    const scene = readScene(await this.bytes(value.file), value);
    this.keep(value.source, scene);
    return scene;
  }

  known(source) {
    return this.scenes.get(sourceKey(source));
  }

  keep(source, scene) {
    for (const key of new Set([sourceKey(source), sourceKey(scene.source)])) {
      this.scenes.delete(key);
      this.scenes.set(key, scene);
    }
    while (this.scenes.size > KEPT) this.scenes.delete(this.scenes.keys().next().value);
  }

  /** Ask for a scene in a lane; resolves to null when a newer wish of that lane took its place. */
  scene(source, lane) {
    const known = this.known(source);
    const line = this.lanes.get(lane) ?? { busy: false, next: null };
    this.lanes.set(lane, line);
    line.next?.resolve(null);
    line.next = null;
    line.newest = source;
    if (known) return Promise.resolve(known);
    return new Promise((resolve, reject) => {
      line.next = { source, resolve, reject };
      if (!line.busy) this.work(line);
    });
  }

  async work(line) {
    line.busy = true;
    while (line.next) {
      const { source, resolve, reject } = line.next;
      line.next = null;
      try {
        const scene = await this.fetch(source);
        resolve(line.newest === source ? scene : null);
      } catch (error) {
        if (line.newest === source) reject(error);
        else resolve(null);
      }
    }
    line.busy = false;
  }

  async fetch(source) {
    const known = this.known(source);
    if (known) return known;
    const value = await this.ask("scene", source);
    const scene = readScene(await this.bytes(value.file), value);
    this.keep(source, scene);
    return scene;
  }

  /** Call a function of the server. Throws an Error with words for the person. */
  async ask(name, argument) {
    if (!this.server) throw new Error(say("this page has no server to ask"));
    const answer = await this.server[name](argument);
    if (answer?.error) throw new Error(told(answer.error));
    if (!answer) throw new Error(say("the server gave no answer"));
    return answer;
  }

  address(file) {
    return file.url ?? `${this.root}file=${file.path}`;
  }

  async bytes(file) {
    const response = await fetch(this.address(file));
    if (!response.ok) throw new Error(say("the server answered {status}", { status: response.status }));
    return response.arrayBuffer();
  }
}
