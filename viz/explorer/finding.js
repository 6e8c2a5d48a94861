// What the tests found about one map: the verdict, four maps, how they agree, and the deletion curve.

import { deletionFigure } from "./deletion.js";
import { say } from "./language.js";
import { bytesOf, coverCell } from "./draw.js";
import { dressPin } from "./markers.js";
import { Panels } from "./panels.js";
import { plot } from "./plot.js";
import { formatMultiple, signed } from "./words.js";

/** What the maps are called, by their names in the evidence. */
export const NAMES = {
  attention: "Attention",
  "value-weighted": "Attention × value",
  gradient: "Gradient",
  "knock-out": "Knock-out",
};

const MEANINGS = {
  attention: "How much the point looks at each place.",
  "value-weighted": "The same, times how much there is to take from the place.",
  gradient: "How strongly the patch depends on what each place gives, faded in little by little.",
  "knock-out": "How much the patch changes when just this place is hidden.",
};

const OF_LOGIT = {
  gradient: "How strongly the score depends on what each place gives, faded in little by little.",
  "knock-out": "How much the score changes when just this place is hidden.",
};

const VERDICTS = {
  names: "The map names what matters",
  chance: "No better than chance here",
  hardly: "This layer hardly matters at all",
};

const HEADINGS = {
  none: "This map",
  random: "With random weights",
  shuffled: "With another point's query",
};

const ABOUT = {
  none: "As the network is. The tests beside it show what the same figures are worth.",
  random: "The same point in a network that has learnt nothing: its weights are shuffled. A test that praises this map praises any.",
};

export class Finding {
  /** `owner` is told where the pointer is: pointed(event, grid), key(event, grid), light(null). */
  constructor(owner) {
    this.owner = owner;
    this.element = document.createElement("article");
    this.element.className = "finding";
    this.element.innerHTML = `
      <div class="comparing"><h3 class="which"></h3><p class="about"></p></div>
      <div><p class="verdict"><span class="badge" aria-hidden="true"></span><strong></strong></p><p class="reason"></p></div>
      <ol class="panels"></ol><p class="legend reading"></p>
      <div class="numbers"><figure><figcaption></figcaption><div class="deletion" role="img"></div></figure>
        <div class="agreement"><table><caption><strong></strong><br><span></span></caption><thead><tr></tr></thead><tbody></tbody></table></div></div>
      <p class="notes"></p>`;
    this.find = (selector) => this.element.querySelector(selector);
    this.panels = new Panels(this.find(".panels"));
  }

  /** Show evidence; `scale` and `height` (of the diagram) are those of all findings beside it. */
  async show(asked, evidence, scale, height) {
    const [rows, cols] = evidence.grid;
    this.grid = { height: rows, width: cols };
    this.maps = evidence.maps;
    this.words(asked, evidence);
    this.paint(asked, evidence, scale);
    this.agreement(evidence.correlations);
    const place = this.find(".deletion");
    try {
      await plot(place, this.owner.page.plotly(), deletionFigure(evidence, height, place));
    } catch (error) {
      place.textContent = say("The curves could not be drawn: {reason}.", { reason: error.message });
    }
  }

  words(asked, evidence) {
    const { control, verdict, unit, curve, shuffled_from: from } = evidence;
    this.element.dataset.control = control;
    this.element.dataset.verdict = verdict.kind;
    this.find(".which").textContent = say(HEADINGS[control]);
    this.find(".about").textContent = from
      ? say("The map of row {row}, column {col}, tested as if it were this point's. It should do worse if maps depend on the point.", { row: from[0], col: from[1] })
      : say(ABOUT[control]);
    dressPin(this.find(".verdict .badge"), asked.index, asked.colour);
    this.find(".verdict strong").textContent = say(VERDICTS[verdict.kind]);
    this.find(".reason").textContent = reason(verdict, unit);
    this.find("figcaption").textContent = unit === "logit" ? say("Hiding places: how much the discriminator's score changes") : say("Hiding places: how much the patch changes");
    this.find(".deletion").setAttribute("aria-label", spoken(curve, unit));
    const notes = [];
    if (evidence.block > 1) notes.push(say("There are many places, so knock-out hid blocks of {side}×{side} of them first, and single places where those mattered most.", { side: evidence.block }));
    if (evidence.whole_network) notes.push(say("The whole network had to run for every test: {reason}.", { reason: evidence.whole_network }));
    if (evidence.correlations.some(([, , value]) => value === null)) notes.push(say("–: a map that is the same everywhere puts places in no order."));
    this.find(".notes").textContent = notes.join(" ");
  }

  paint(asked, evidence, scale) {
    const { grid } = this;
    const { queryGrid: own } = asked.layer;
    const [row, col] = evidence.pin;
    const image = evidence.image ? decoded(evidence.image) : asked.scene.image;
    const meanings = evidence.unit === "logit" ? { ...MEANINGS, ...OF_LOGIT } : MEANINGS;
    const panels = Object.entries(NAMES).map(([name, title]) => {
      const map = Float32Array.from(evidence.maps[name]);
      return { title: say(title), tip: say(meanings[name]), image, map, grid, scale, found: { cell: { row, col }, own } };
    });
    this.panels.show(panels);
    this.find(".panels").setAttribute("aria-label", say("Four maps of one point"));
    [...this.find(".panels").children].forEach((panel, at) => {
      const name = Object.keys(NAMES)[at];
      if (!panel.querySelector(".lit")) this.equip(panel);
      const thumbnail = panel.querySelector(".thumbnail");
      thumbnail.setAttribute("aria-label", say("{map}: arrow keys light a place up", { map: say(NAMES[name]) }));
      const nothing = evidence.maps[name].every((value) => value === 0);
      panel.querySelector(".meaning").textContent = nothing ? say("Nothing had any effect.") : say(meanings[name]);
    });
    this.find(".panels").style.setProperty("--pin", asked.colour.colour);
  }

  /** A panel gets what lights a place up, and its meaning. */
  equip(panel) {
    const { owner } = this;
    const thumbnail = panel.querySelector(".thumbnail");
    const lit = Object.assign(document.createElement("div"), { className: "lit", hidden: true });
    thumbnail.append(lit);
    thumbnail.tabIndex = 0;
    thumbnail.setAttribute("role", "application");
    thumbnail.addEventListener("pointermove", (event) => owner.pointed(event, this.grid));
    thumbnail.addEventListener("pointerdown", (event) => owner.pointed(event, this.grid));
    thumbnail.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && owner.light(null));
    thumbnail.addEventListener("keydown", (event) => owner.key(event, this.grid));
    thumbnail.addEventListener("blur", () => owner.light(null));
    panel.append(Object.assign(document.createElement("p"), { className: "meaning" }));
  }

  /** Light a place up in all maps and say what they have there; null for none. */
  light(cell) {
    this.find(".reading").textContent = cell ? this.reading(cell) : say("Each map shares out the same total. At 1× a place gets an even share; all maps here have one scale. Point at a place: it lights up in all maps.");
    for (const lit of this.element.querySelectorAll(".lit")) {
      lit.hidden = !cell;
      if (cell) coverCell(lit, cell, this.grid);
    }
  }

  reading({ row, col }) {
    const at = row * this.grid.width + col;
    const values = Object.entries(NAMES).map(([name, title]) => `${say(title)} ${formatMultiple(this.maps[name][at])}`);
    return say("Row {row}, column {col}: {values}.", { row, col, values: values.join(", ") });
  }

  /** The rank correlations as the lower half of a square. */
  agreement(correlations) {
    const names = Object.keys(NAMES);
    const value = (one, other) => correlations.find(([a, b]) => (a === one && b === other) || (a === other && b === one))[2];
    this.find("caption strong").textContent = say("Do the maps rank the places alike?");
    this.find("caption span").textContent = say("1 is the same order, 0 no relation, −1 the reverse (Spearman's rank correlation).");
    this.find("thead tr").replaceChildren(document.createElement("td"), ...names.slice(0, -1).map((name) => header(name, "col")));
    this.find("tbody").replaceChildren(...names.slice(1).map((name, at) => {
      const row = document.createElement("tr");
      row.append(header(name, "row"), ...names.slice(0, -1).map((other, place) => {
        const cell = document.createElement("td");
        if (place > at) return cell;
        const found = value(other, name);
        cell.textContent = found === null ? "–" : signed(found);
        cell.style.setProperty("--agree", `${Math.round(60 * Math.max(0, found ?? 0))}%`);
        return cell;
      }));
      return row;
    }));
  }
}

function header(name, scope) {
  return Object.assign(document.createElement("th"), { textContent: say(NAMES[name]), scope });
}

/** {height, width, channels, pixels in base64} -> the same with bytes. */
function decoded(image) {
  image.bytes ??= { ...image, pixels: bytesOf(image.pixels) };
  return image.bytes;
}

const short = (value) => Number(value.toPrecision(2)).toString();

function effect({ layer_effect: amount }, unit) {
  return unit === "logit"
    ? say("Without the layer the discriminator's score changes by {amount}", { amount: short(amount) })
    : say("Without the layer this patch changes by {amount} of 255 grey levels", { amount: short(amount) });
}

const OF_PATCH = "Hiding the places that the map ranks first changes the patch {ratio} times as much as hiding random places (random draws: 1 ± {spread}; {good} of {draws} did as well).";
const OF_SCORE = "Hiding the places that the map ranks first changes the score {ratio} times as much as hiding random places (random draws: 1 ± {spread}; {good} of {draws} did as well).";

/** The numbers that decide a verdict, in plain sentences. */
export function reason(verdict, unit) {
  const layer = effect(verdict, unit);
  if (verdict.kind === "hardly") return say("{layer}; less than {least} counts as nothing.", { layer, least: short(verdict.least_effect) });
  if (verdict.over_random === null) return say("Hiding places from this point changes nothing. {layer}.", { layer });
  const { over_random: ratio, random_spread: spread, draws_as_good: good, draws, nearest_over_random: nearest } = verdict;
  const numbers = { ratio: ratio.toFixed(1), spread: spread.toFixed(2), good, draws, nearest: nearest?.toFixed(1) };
  const parts = [say(unit === "logit" ? OF_SCORE : OF_PATCH, numbers)];
  if (nearest !== null) parts.push(say("Hiding the nearest places: {nearest} times.", numbers));
  return [...parts, `${layer}.`].join(" ");
}

/** The diagram in words, for those who do not see it. */
function spoken({ sizes, top, random }, unit) {
  const middle = Math.floor(sizes.length / 2);
  const words = unit === "logit"
    ? "With {size} of {keys} places hidden the score changes by {top} if the map chooses them, by {random} if chance does."
    : "With {size} of {keys} places hidden the patch changes by {top} grey levels if the map chooses them, by {random} if chance does.";
  return say(words, { size: sizes[middle], keys: sizes.at(-1), top: short((top ?? random)[middle]), random: short(random[middle]) });
}
