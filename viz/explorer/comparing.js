// What stands beside the picture to be compared with it.

import { wholeSource } from "./state.js";

/**
 * The part of the state that shows another `kind` ("seed", "class", "random", "checkpoint", "layer")
 * of the same picture in a second pane: {other, other_layer}. `pane` is the first one; `anySeed()`
 * draws a seed.
 */
export function another(kind, source, lab, pane, anySeed) {
  let other = { ...source, gamma: {}, without: {} };
  let layer = null;
  if (kind === "seed") other.seed = anySeed();
  if (kind === "class") other.label = ((source.label ?? 0) + 1) % lab.class_names.length;
  if (kind === "random") other.weights = source.weights === "random" ? "trained" : "random";
  if (kind === "checkpoint") other = { checkpoint: after(lab.checkpoints, lab.checkpoint), seed: source.seed };
  if (kind === "layer") {
    layer = after(pane.scene.layers.map(({ name }) => name), pane.layer.name);
    other = source;
  }
  return { other: wholeSource(other), other_layer: layer };
}

/** The next of a list, the first after the last. */
const after = (list, one) => list[(list.indexOf(one) + 1) % list.length];
