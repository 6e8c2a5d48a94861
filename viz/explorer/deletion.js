// The deletion curve as a Plotly figure: what changes when more and more places are hidden.

import { say } from "./language.js";

const INKS = {
  light: { top: "#0072b2", nearest: "#b34f00", random: "#5a5a5a", band: "rgba(90,90,90,0.18)" },
  dark: { top: "#56b4e9", nearest: "#f0a030", random: "#b8b8b8", band: "rgba(184,184,184,0.2)" },
};
const FAINT = "rgba(128,128,128,0.25)";
const GREY = "rgb(128,128,128)";

/** `height` is the end of the vertical axis, `element` where it will stand. */
export function deletionFigure({ curve, unit, verdict }, height, element) {
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
      height: 300,
      margin: { l: 52, r: 14, t: 10, b: 46 },
      hovermode: "x unified",
      hoverlabel: { bgcolor: "rgb(40,40,40)", font: { color: "white" } },
      xaxis: { ...axis, type: "log", tickvals: thinned(sizes), ticktext: thinned(sizes).map(String), title: { text: say("Places hidden, of {keys}", { keys }), font: { size: 12 } }, hoverformat: "d" },
      yaxis: { ...axis, range: [0, height || verdict.least_effect], title: { text: unit === "logit" ? say("Change of the score") : say("Change (of 255 grey levels)"), font: { size: 12 } } },
      annotations: labels(curves, sizes, height),
    },
  };
}

/** At most nine marks, or they run into each other. */
function thinned(sizes) {
  const step = Math.ceil(sizes.length / 9);
  return sizes.filter((_, at) => (sizes.length - 1 - at) % step === 0);
}

/** A curve's name beside it, where it is furthest from the others; they all end in one point. */
function labels(curves, sizes, height) {
  const inside = sizes.map((_, at) => at).slice(1, -1);
  const taken = [];
  return curves.toReversed().map(({ name, y, colour }) => {
    const gap = (at) => Math.min(height / 4, ...curves.filter((other) => other.y !== y).map((other) => Math.abs(other.y[at] - y[at])));
    const free = (at) => !taken.some((other) => Math.abs(other.at - at) < 2 && Math.abs(other.y - y[at]) < height / 8);
    const places = inside.filter(free);
    const at = (places.length ? places : inside).reduce((best, one) => (gap(one) > gap(best) + 1e-9 ? one : best), (places.length ? places : inside)[0] ?? 0);
    taken.push({ at, y: y[at] });
    const above = curves.filter((other) => other.y[at] > y[at]).length <= (curves.length - 1) / 2;
    return {
      text: name, x: Math.log10(sizes[at]), y: y[at], font: { color: colour, size: 13 }, showarrow: false,
      xanchor: above ? "right" : "left", yanchor: above ? "bottom" : "top", xshift: above ? -4 : 4, yshift: above ? 2 : -2,
    };
  });
}

/** 0 to 1 of a colour "rgb(r, g, b)". */
function brightness(colour) {
  const [red, green, blue] = colour.match(/[\d.]+/g).map(Number);
  return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255;
}
