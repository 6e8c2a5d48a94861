// The deletion curve as a Plotly figure: what changes when more and more places are hidden.

import { say } from "./language.js";

const INKS = {
  light: { top: "#0072b2", nearest: "#b34f00", random: "#5a5a5a", band: "rgba(90,90,90,0.18)" },
  dark: { top: "#56b4e9", nearest: "#f0a030", random: "#b8b8b8", band: "rgba(184,184,184,0.2)" },
};
const FAINT = "rgba(128,128,128,0.25)";
const HEIGHT = 300;
const MARGIN = { l: 52, r: 14, t: 10, b: 46 };
const GREY = "rgb(128,128,128)";

/** `end` is that of the vertical axis, `element` where it will stand. */
export function deletionFigure({ curve, unit }, end, element) {
  const inks = INKS[brightness(getComputedStyle(element).color) > 0.5 ? "dark" : "light"];
  const { sizes, top, nearest, random, spread } = curve;
  const line = (y, colour, more = {}) => ({
    type: "scatter", mode: "lines+markers", x: sizes, y, line: { color: colour, width: 2, ...more }, marker: { color: colour, size: 5 }, hovertemplate: "%{y:.3g}", showlegend: false,
  });
  const edge = (sign) => ({ type: "scatter", mode: "lines", x: sizes, y: random.map((mean, at) => Math.max(0, mean + sign * spread[at])), line: { width: 0 }, hoverinfo: "skip", showlegend: false });
  const curves = [
    { name: say("random places"), y: random, colour: inks.random, dash: "dot" },
    nearest && { name: say("nearest places"), y: nearest, colour: inks.nearest, dash: "dash" },
    top && { name: say("the map's first places"), y: top, colour: inks.top, dash: "solid" },
  ].filter(Boolean);
  const data = [
    edge(1),
    { ...edge(-1), fill: "tonexty", fillcolor: inks.band },
    ...curves.map(({ name, y, colour, dash }) => ({ ...line(y, colour, { dash }), name })),
  ];
  const axis = { gridcolor: FAINT, linecolor: GREY, zerolinecolor: GREY, automargin: true, fixedrange: true };
  const keys = sizes.at(-1);
  return {
    data,
    layout: {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { size: 12 },
      height: HEIGHT,
      margin: MARGIN,
      hovermode: "x unified",
      hoverlabel: { bgcolor: "rgb(40,40,40)", font: { color: "white" } },
      xaxis: { ...axis, type: "log", tickvals: thinned(sizes), ticktext: thinned(sizes).map(String), title: { text: say("Places hidden, of {keys}", { keys }), font: { size: 12 } }, hoverformat: "d" },
      yaxis: { ...axis, range: [0, end], title: { text: unit === "logit" ? say("Change of the score") : say("Change (of 255 grey levels)"), font: { size: 12 } } },
      annotations: labels(curves, sizes, { width: element.clientWidth - MARGIN.l - MARGIN.r, height: HEIGHT - MARGIN.t - MARGIN.b, end }),
    },
  };
}

/** At most nine marks, or they run into each other. */
function thinned(sizes) {
  const step = Math.ceil(sizes.length / 9);
  return sizes.filter((_, at) => (sizes.length - 1 - at) % step === 0);
}

const LETTER = 6.9; // pixels, on average
const ROW = 16;

/**
 * Each curve's name beside it, joined to it by a line where it stands apart: of all places the one
 * that covers the least of the curves and of the other names. Sizes are in pixels.
 */
function labels(curves, sizes, { width, height, end }) {
  const last = Math.log2(sizes.at(-1)) || 1;
  const across = (size) => (Math.log2(size) / last) * width;
  const down = (value) => (value / end) * height;
  const points = curves.map(({ y }) => y.map((value, at) => ({ x: across(sizes[at]), y: down(value) })));
  const taken = [];
  return curves.toReversed().map(({ name, colour, y }, index) => {
    const own = points[curves.length - 1 - index];
    let best = null;
    for (let at = 0; at < sizes.length; at++) {
      for (const rise of [12, -12, 26, -26, 42, 60, 80, 104, 130]) {
        for (const side of [-0.5, 0, 0.5]) {
          const wide = LETTER * name.length;
          const box = { x: own[at].x + side * wide, y: own[at].y + rise, wide };
          const away = (curve) => Math.abs(heightAt(curve, box.x) - box.y);
          const confusing = points.some((curve) => curve !== own && away(curve) < away(own) + 2) ? 60 : 0;
          const cost = crowding(box, points, taken, width, height) + confusing + Math.abs(rise) / 4 + 4 * Math.abs(side);
          if (!best || cost < best.cost) best = { cost, at, rise, side, box };
        }
      }
    }
    taken.push(best.box);
    return {
      text: name, x: Math.log10(sizes[best.at]), y: y[best.at], font: { color: colour, size: 13 },
      showarrow: true, arrowhead: 0, arrowwidth: 1, arrowcolor: Math.abs(best.rise) > 20 ? colour : "rgba(0,0,0,0)", standoff: 3,
      ax: best.box.x - own[best.at].x, ay: -best.rise,
    };
  });
}

/** How much of curves and other names a name at a box's middle covers; far outside is worst. */
function crowding(box, points, taken, width, height) {
  const left = box.x - box.wide / 2;
  const right = box.x + box.wide / 2;
  if (left < 0 || right > width || box.y < ROW / 2 || box.y > height - ROW / 2) return 1e6;
  let cost = 0;
  for (const other of taken) {
    if (Math.abs(other.x - box.x) < (other.wide + box.wide) / 2 && Math.abs(other.y - box.y) < ROW) cost += 1e4;
  }
  for (const curve of points) {
    for (let part = 0; part <= 10; part++) {
      const gap = Math.abs(heightAt(curve, left + (part / 10) * box.wide) - box.y);
      if (gap < ROW / 2 + 2) cost += 30;
    }
  }
  return cost;
}

function heightAt(curve, x) {
  const after = curve.findIndex((point) => point.x >= x);
  if (after <= 0) return curve[after < 0 ? curve.length - 1 : 0].y;
  const [from, to] = [curve[after - 1], curve[after]];
  return from.y + ((to.y - from.y) * (x - from.x)) / (to.x - from.x || 1);
}

/** 0 to 1 of a colour "rgb(r, g, b)". */
function brightness(colour) {
  const [red, green, blue] = colour.match(/[\d.]+/g).map(Number);
  return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255;
}
