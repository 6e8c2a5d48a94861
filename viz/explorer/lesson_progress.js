// How far a person came in the lesson, kept in this browser.

const KEPT = "lens-lesson";

/** {at, answers: {step: choice or text}, done: {act: true}, quiz: {question: choice}, checked, projector} */
export class Progress {
  constructor() {
    Object.assign(this, fresh(), remembered());
  }

  keep() {
    try {
      window.localStorage.setItem(KEPT, JSON.stringify(this));
    } catch {
      // Where a browser keeps nothing, progress lasts as long as the page.
    }
  }

  /** Begin again; large type stays as it is. */
  clear() {
    Object.assign(this, fresh(), { projector: this.projector });
    this.keep();
  }
}

const fresh = () => ({ at: 1, answers: {}, done: {}, quiz: {}, checked: false, projector: false });

/** What was kept, as far as it is of the right kind. */
function remembered() {
  try {
    const kept = JSON.parse(window.localStorage.getItem(KEPT)) ?? {};
    const usual = fresh();
    return Object.fromEntries(Object.keys(usual).filter((name) => kept[name] !== null && typeof kept[name] === typeof usual[name]).map((name) => [name, kept[name]]));
  } catch {
    return {};
  }
}
