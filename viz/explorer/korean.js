// The Korean sentences, from the files of the page's parts.

import lesson from "./korean/lesson.js";
import making from "./korean/making.js";
import page from "./korean/page.js";
import heard from "./korean/server.js";
import truth from "./korean/truth.js";

/** {English sentence: Korean} for what scripts and the template say. */
export const sentences = { ...page, ...truth, ...making, ...lesson };

/** The same for what the server says; a sentence with {holes} fits any that differ only there. */
export const server = heard;
