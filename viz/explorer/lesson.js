// The lesson: seven steps that use the page, each with a question to predict, an act that completes it
// and an answer; then a quiz. Its text is in lesson_steps.js.

import { beside, putBeside, queryString } from "./address.js";
import { make } from "./elements.js";
import { language, say, told } from "./language.js";
import { ACTS, PLACES, setupOf } from "./lesson_acts.js";
import { drawReach, SoftmaxTable } from "./lesson_figures.js";
import { Progress } from "./lesson_progress.js";
import TEXT from "./lesson_steps.js";

const { steps: STEPS, quiz: QUIZ } = TEXT;
const QUIZ_AT = STEPS.length + 1;

export class Lesson {
  /** `element` is its part of the page; `page` is what the explorer lets its parts see and do. */
  constructor(element, page) {
    Object.assign(this, { element, page });
    this.find = (selector) => element.querySelector(selector);
    this.root = element.closest(".lens");
    this.progress = new Progress();
    this.links = new Set(); // states whose link was copied in this step
    this.reached = new Map(); // layer -> what `reach` of the server answered
    this.listen();
    const asked = page.loader.server ? numberOf(beside("lesson")) : null;
    if (asked) {
      this.progress.at = asked;
      this.entered = true;
      element.open = true;
    }
  }

  listen() {
    const { element, root } = this;
    element.addEventListener("toggle", () => this.toggled());
    root.addEventListener("toggle", () => this.check(), true); // another part was unfolded
    root.querySelector(".link").addEventListener("click", () => {
      this.links.add(queryString(this.page.state()));
      this.check();
    });
    this.tested = root.querySelector("[data-part=truth] .tested");
    new MutationObserver(() => this.check()).observe(this.tested, { attributeFilter: ["hidden"] });
    this.find(".projector").addEventListener("click", () => {
      this.progress.projector = !this.progress.projector;
      this.progress.keep();
      this.showProjector();
    });
    this.find(".again").addEventListener("click", () => {
      this.progress.clear();
      this.goTo(1);
    });
    const back = root.querySelector(".lessonback");
    back.addEventListener("click", () => this.goBack());
    const seen = new IntersectionObserver(([entry]) => { back.hidden = !element.open || entry.isIntersecting; });
    seen.observe(this.find(".step"));
  }

  // Opening, and going from step to step

  toggled() {
    const { open } = this.element;
    this.root.dataset.lesson = open;
    this.showProjector();
    if (!open) this.root.querySelector(".lessonback").hidden = true;
    if (this.page.loader.server) putBeside("lesson", open ? nameOf(this.progress.at) : null);
    this.show();
  }

  showProjector() {
    const large = this.progress.projector && this.element.open;
    this.root.dataset.projector = large;
    this.find(".projector").setAttribute("aria-pressed", this.progress.projector);
  }

  goTo(at) {
    this.progress.at = at;
    this.progress.keep();
    if (this.page.loader.server) putBeside("lesson", nameOf(at));
    this.find(".status").textContent = "";
    this.shown = null;
    this.show();
    this.find(".step h3").focus({ preventScroll: true });
    this.find(".lessonbar").scrollIntoView({ block: "nearest" });
  }

  goBack() {
    this.find(".lessonbar").scrollIntoView({ block: "start" });
    this.find(".step h3").focus({ preventScroll: true });
  }

  /** The step at which the lesson is; undefined at the quiz. */
  get step() {
    return STEPS[this.progress.at - 1];
  }

  /** The generator's layer that the lesson is about. */
  get layer() {
    const layer = this.page.layer();
    return layer.network === "generator" ? layer : (this.page.scene().layers.findLast(({ network }) => network === "generator") ?? layer);
  }

  show() {
    if (!this.element.open || !this.page.state()) return;
    const wanted = JSON.stringify([this.progress.at, language(), this.layer.name, this.page.lab().checkpoint]);
    if (this.shown !== wanted) {
      this.shown = wanted;
      this.begin();
    }
    this.table?.show(this.layer, this.page);
    this.check();
    if (this.entered) this.find(".lessonbar").scrollIntoView({ block: "nearest" });
    this.entered = false;
  }

  /** Write the step down anew. */
  begin() {
    if (this.begun !== this.progress.at) this.links.clear();
    this.begun = this.progress.at;
    this.before = this.page.state();
    this.table = null;
    this.paintBar();
    this.find(".step").replaceChildren(...(this.step ? this.partsOf(this.step) : this.partsOfQuiz()));
    this.update();
  }

  paintBar() {
    const items = [...STEPS, null].map((step, index) => {
      const at = index + 1;
      const name = step ? say("Step {number}: {title}", { number: at, title: say(step.title) }) : say("Quiz");
      const link = make("a", step ? String(at) : name, { href: `?lesson=${nameOf(at)}`, title: name });
      link.dataset.done = step ? this.isDone(step) : this.progress.checked;
      link.setAttribute("aria-label", link.dataset.done === "true" ? say("{step}, done", { step: name }) : name);
      if (at === this.progress.at) link.setAttribute("aria-current", "step");
      link.addEventListener("click", (event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        this.goTo(at);
      });
      const item = make("li");
      item.append(link);
      return item;
    });
    this.find(".stepper").replaceChildren(...items);
  }

  // A step

  partsOf(step) {
    const values = this.values();
    const head = make("h3", say("Step {number}: {title}", { number: this.progress.at, title: say(step.title) }), { tabIndex: -1 });
    head.append(make("span", say("{minutes} minutes", { minutes: step.minutes }), { className: "minutes" }));
    const parts = [head, make("p", say(step.intro, values), { className: "intro" })];
    if (step.name === "softmax") {
      this.table = new SoftmaxTable(() => this.calculated());
      parts.push(this.table.element);
    }
    const both = make("div", "", { className: "both" });
    both.append(this.predicting(step, values), this.acting(step));
    return [...parts, both, make("section", "", { className: "reveal" }), this.onward()];
  }

  predicting(step, values) {
    const section = make("section", "", { className: "predict" });
    const set = make("fieldset");
    set.append(make("legend", say(step.question, values)));
    const name = `lesson-${step.name}`;
    if (step.choices) set.append(...choices(step.choices, name, this.progress.answers[step.name]));
    else set.append(make("textarea", "", { rows: 3, maxLength: 500, value: this.progress.answers[step.name] ?? "", ariaLabel: say("Your claim") }));
    const commit = make("button", say("That is my answer"), { type: "button", className: "commit" });
    const given = () => (step.choices ? chosen(set) : set.querySelector("textarea").value.trim());
    const ready = () => { commit.disabled = given() === null || given() === ""; };
    set.addEventListener("input", ready);
    ready();
    commit.addEventListener("click", () => this.commit(step, given()));
    section.append(make("h4", say("Predict")), set, commit);
    return section;
  }

  acting(step) {
    const section = make("section", "", { className: "act" });
    const setup = make("button", say("Set the page for this step"), { type: "button", className: "setup" });
    setup.addEventListener("click", () => this.setUp(step));
    const list = make("ul");
    for (const act of this.actsOf(step)) {
      const item = make("li", "");
      item.dataset.act = act.name;
      item.append(make("span", "", { className: "doneness" }), make("span", say(act.text)));
      if (PLACES[act.name]) {
        const there = make("button", say("Go there"), { type: "button", className: "there" });
        there.setAttribute("aria-label", say("Go there: {act}", { act: say(act.text) }));
        there.addEventListener("click", () => this.visit(PLACES[act.name]));
        item.append(there);
      }
      list.append(item);
    }
    const skip = make("button", say("Mark as done"), { type: "button", className: "skip" });
    skip.addEventListener("click", () => this.finish(this.actsOf(step).map(({ name }) => name)));
    section.append(make("h4", say("Try it")), make("p", say("First give your answer."), { className: "first" }), setup, list, skip);
    return section;
  }

  onward() {
    const line = make("div", "", { className: "onward buttons" });
    const { at } = this.progress;
    const previous = make("button", say("Previous step"), { type: "button", disabled: at === 1 });
    previous.addEventListener("click", () => this.goTo(at - 1));
    const next = make("button", at === STEPS.length ? say("To the quiz") : say("Next step"), { type: "button", className: "next" });
    next.addEventListener("click", () => this.goTo(at + 1));
    line.append(previous, ...(at < QUIZ_AT ? [next] : []));
    return line;
  }

  /** Acts of a step that this checkpoint allows. */
  actsOf(step) {
    return step.acts.filter(({ name }) => name !== "training" || this.page.lab().snapshots.length > 1);
  }

  isDone(step) {
    return this.progress.answers[step.name] !== undefined && this.actsOf(step).every(({ name }) => this.progress.done[name]);
  }

  /** Numbers of the layer, as the text names them. */
  values() {
    const { layer } = this;
    const { height: rows, width: cols } = layer.queryGrid;
    const found = this.reached.get(this.reachKey);
    const part = found && (100 * found.rows * found.cols) / (found.grid[0] * found.grid[1]);
    return {
      layer: told(layer.label), queries: layer.queries, keys: layer.keys, rows, cols,
      channels: layer.channels, root: Math.sqrt(layer.channels).toFixed(1),
      gamma: Number(layer.learnt_gamma.toPrecision(2)), uniform: Number((100 / layer.keys).toPrecision(2)),
      ...(found && { reachRows: found.rows, reachCols: found.cols, reachPercent: Number(part.toPrecision(2)) }),
    };
  }

  // What a person does

  commit(step, answer) {
    this.progress.answers[step.name] = answer;
    this.progress.keep();
    this.before = this.page.state();
    this.update();
    this.check();
    const focus = this.isDone(step) ? this.find(".reveal") : this.find(".setup");
    focus.focus();
  }

  setUp(step) {
    const { state, open } = setupOf(step.name, this.page.lab());
    if (open) this.root.querySelector(`details[data-part=${open}]`).open = true;
    this.before = { ...this.page.state(), ...state, pins: state.pins };
    this.page.set(state);
    this.find(".status").textContent = say("The page is set. Undo brings back what was there.");
  }

  /** Unfold a part of the page and go there. */
  visit(place) {
    const part = place === "picture" ? this.root.querySelector(".picture") : this.root.querySelector(`[data-part=${place}]`);
    const summary = part.querySelector("summary");
    const target = place === "picture" ? part : (summary ?? part.querySelector(".random"));
    if (summary && !part.matches(".wide")) part.open = true; // to unfold the others is the act
    target.scrollIntoView({ block: place === "picture" ? "center" : "start" });
    target.focus({ preventScroll: true });
  }

  calculated() {
    this.worked = true;
    this.check();
  }

  /** Note the acts of this step that the state shows to be done. */
  check() {
    const { step } = this;
    if (!this.element.open || !step || this.progress.answers[step.name] === undefined || !this.before) return;
    const opened = (part) => Boolean(this.root.querySelector(`details[data-part=${part}]`)?.open);
    const seen = { opened, links: this.links, tested: !this.tested.hidden, calculated: this.worked };
    const facts = { now: this.page.state(), before: this.before, layer: this.layer, seen };
    this.finish(this.actsOf(step).map(({ name }) => name).filter((name) => !this.progress.done[name] && ACTS[name](facts)));
    this.worked = false;
  }

  finish(names) {
    if (!names.length) return;
    const { step } = this;
    for (const name of names) this.progress.done[name] = true;
    this.progress.keep();
    this.find(".status").textContent = this.isDone(step) ? say("Done. The answer is below.") : say("Done. One more to go.");
    this.update();
  }

  /** Bring the step's marks, and its answer, up to what was done. */
  update() {
    const { step } = this;
    this.paintBar();
    if (!step) return;
    const { answers, done } = this.progress;
    const committed = answers[step.name] !== undefined;
    for (const input of this.find(".predict").querySelectorAll("input, textarea")) input.disabled = committed;
    this.find(".commit").hidden = committed;
    this.find(".first").hidden = committed;
    for (const selector of [".setup", ".act ul", ".skip"]) this.find(selector).hidden = !committed;
    for (const item of this.element.querySelectorAll("[data-act]")) {
      item.dataset.done = Boolean(done[item.dataset.act]);
      item.firstChild.textContent = done[item.dataset.act] ? "✓" : "○";
      item.firstChild.setAttribute("aria-label", done[item.dataset.act] ? say("done") : say("to do"));
      item.firstChild.setAttribute("role", "img");
    }
    const complete = this.isDone(step);
    this.find(".skip").hidden ||= complete;
    this.find(".onward .next")?.classList.toggle("ready", complete);
    this.root.querySelector(".lessonback").textContent = complete ? say("✓ Done: back to the lesson") : say("Back to the lesson");
    this.table?.reveal(complete);
    this.reveal(step, complete);
  }

  async reveal(step, complete) {
    const section = this.find(".reveal");
    section.hidden = !complete;
    section.tabIndex = -1;
    if (!complete) return section.replaceChildren();
    const answer = this.progress.answers[step.name];
    const values = this.values();
    const parts = [make("h4", say("Answer"))];
    if (step.choices) {
      const words = say(step.choices[step.right]);
      parts.push(make("p", answer === step.right ? say("You predicted it: {answer}", { answer: words }) : say("Not so. It is: {answer}", { answer: words }), { className: "verdict" }));
    }
    parts.push(...step.reveal.map((text) => make("p", say(text, values))));
    section.replaceChildren(...parts);
    if (step.name === "reach") await this.revealReach(step, section);
    return undefined;
  }

  get reachKey() {
    return `${this.page.lab().checkpoint} ${this.layer.name}`;
  }

  /** How far convolution reaches, counted by the server when somebody comes so far. */
  async revealReach(step, section) {
    const key = this.reachKey;
    const paragraph = section.querySelectorAll("p")[1];
    if (!this.reached.has(key)) {
      paragraph.textContent = say("Counting what a pixel can draw on …");
      try {
        this.reached.set(key, await this.page.loader.ask("reach", { checkpoint: this.page.lab().checkpoint, layer: this.layer.name }));
      } catch (error) {
        paragraph.textContent = say("This could not be counted: {reason}", { reason: error.message });
        return;
      }
    }
    paragraph.textContent = say(step.reveal[0], this.values());
    paragraph.after(drawReach(this.page.scene().image, this.reached.get(key)));
  }

  // The quiz

  partsOfQuiz() {
    const { quiz, checked } = this.progress;
    const head = make("h3", say("Quiz"), { tabIndex: -1 });
    head.append(make("span", say("{minutes} minutes", { minutes: 4 }), { className: "minutes" }));
    const sets = QUIZ.map((asked, number) => {
      const set = make("fieldset", "", { disabled: checked });
      set.append(make("legend", `${number + 1}. ${say(asked.question)}`), ...choices(asked.choices, `quiz-${number}`, quiz[number]));
      set.addEventListener("input", () => {
        quiz[number] = chosen(set);
        this.progress.keep();
        button.disabled = Object.keys(quiz).length < QUIZ.length;
      });
      const answer = say(asked.choices[asked.right]);
      const right = quiz[number] === asked.right;
      const words = right ? say("Right. {why}", { why: say(asked.reveal) }) : say("It is: {answer} {why}", { answer, why: say(asked.reveal) });
      const block = make("section", "", { className: "asked" });
      block.append(set, ...(checked ? [make("p", words, { className: right ? "explained right" : "explained" })] : []));
      return block;
    });
    const button = make("button", checked ? say("Try again") : say("Check my answers"), { type: "button", className: "checking", disabled: !checked && Object.keys(quiz).length < QUIZ.length });
    button.addEventListener("click", () => this.checkQuiz());
    const count = QUIZ.filter(({ right }, number) => quiz[number] === right).length;
    const score = checked ? say("{right} of {count} are right.", { right: count, count: QUIZ.length }) : "";
    return [head, ...sets, button, make("p", score, { className: "score" }), this.onward()];
  }

  checkQuiz() {
    if (this.progress.checked) this.progress.quiz = {};
    this.progress.checked = !this.progress.checked;
    this.progress.keep();
    this.begin();
    this.find(".status").textContent = this.find(".score").textContent;
    this.find(".step h3").focus();
  }
}

const nameOf = (at) => (at === QUIZ_AT ? "quiz" : String(at));

/** The number of a step that an address names; null for none. */
function numberOf(name) {
  const at = [...STEPS.keys(), STEPS.length].map((index) => index + 1).find((one) => nameOf(one) === name);
  return at ?? null;
}

function choices(texts, name, answer) {
  return texts.map((text, index) => {
    const label = make("label");
    label.append(make("input", "", { type: "radio", name, value: index, checked: answer === index }), make("span", say(text)));
    return label;
  });
}

function chosen(set) {
  const input = set.querySelector("input:checked");
  return input && Number(input.value);
}
