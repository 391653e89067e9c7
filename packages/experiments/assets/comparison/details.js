// One run from close by, and the way to its neighbours.

import { nearestRun, nextCell } from "./arrange.js";
import { byId, countText, make, makeButton, makePicture, say, statusText } from "./elements.js";
import { runFacts } from "./run-facts.js";

/** Most runs of a cell that are told one by one. */
const STACK_SHOWN_MAX = 60;
const DIRECTIONS = [
  ["ArrowLeft", "←", 0, -1],
  ["ArrowRight", "→", 0, 1],
  ["ArrowUp", "↑", -1, 0],
  ["ArrowDown", "↓", 1, 0],
];

/** The dialog of one run. */
export class Details {
  #model;
  #around;
  #dialog = byId("details");
  #stage = byId("stage");
  #run;
  /** Its cell; undefined for a run that is in none. */
  #place;

  /**
   * `arranged()` is the grid as it stands, `pins` what is pinned, `closed(place)` is told where the
   * last run that was looked at is.
   */
  constructor(model, around) {
    this.#model = model;
    this.#around = around;
    byId("details-pin").addEventListener("click", () => this.#pin());
    byId("details-close").addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("close", () => {
      rememberRun("");
      around.closed(this.#place);
    });
    this.#dialog.addEventListener("keydown", (event) => this.#pressed(event));
  }

  /** Shows a run, in a cell of the grid or by itself. */
  show(run, place) {
    this.#run = run;
    this.#place = place;
    byId("details-title").replaceChildren(make("b", "", run.name), ` ${run.title}`);
    const picture = makePicture(run, run.images?.[0], "large");
    this.#stage.replaceChildren(picture, this.#ways(), this.#pictures(), this.#stack());
    byId("facts-of-run").replaceChildren(...runFacts(this.#model, run));
    this.#showPin();
    rememberRun(run.name);
    if (!this.#dialog.open) this.#dialog.showModal();
    // What had the focus may be gone.
    if (!this.#dialog.contains(document.activeElement)) byId("details-close").focus();
    this.#dialog.scrollTo(0, 0);
  }

  #neighbour(down, right) {
    if (this.#place === undefined) return undefined;
    const { row, column } = this.#place;
    const next = nextCell(this.#around.arranged(), row, column, down, right);
    return next === undefined ? undefined : { ...next, run: nearestRun(next.runs, this.#run) };
  }

  #ways() {
    const list = make("nav", "ways");
    list.setAttribute("aria-label", "Neighbours");
    const { columns, rows, names } = this.#around.arranged();
    for (const [, arrow, down, right] of DIRECTIONS) {
      const next = this.#neighbour(down, right);
      if (next === undefined) continue;
      const [dimension, value] =
        down === 0 ? [names.columns, columns[next.column]] : [names.rows, rows[next.row]];
      const text = value === "" ? next.run.name : `${dimension} ${value}`;
      const button = makeButton(`${arrow} ${text}`, () => this.show(next.run, next));
      button.title = `${next.run.name}: ${text}`;
      list.append(button);
    }
    const [image] = this.#run.images ?? [];
    if (image !== undefined) {
      const link = make("a", "", "Full size");
      link.href = image.src;
      link.target = "_blank";
      link.rel = "noopener";
      list.append(link);
    }
    return list;
  }

  /** The run's own pictures, where it has several. */
  #pictures() {
    const run = this.#run;
    const images = run.images ?? [];
    if (images.length <= 1) return "";
    return strip(
      countText(images.length, "picture"),
      images.map((image, at) => {
        const button = thumb(run, image, `Picture ${at + 1}`);
        button.addEventListener("click", () =>
          this.#stage.firstElementChild.replaceWith(makePicture(run, image, "large")),
        );
        return button;
      }),
    );
  }

  /** The runs of the same cell, where there are several. */
  #stack() {
    const place = this.#place;
    const runs = place === undefined ? [] : this.#around.arranged().cellOf(place.row, place.column);
    if (runs.length <= 1) return "";
    const buttons = runs.slice(0, STACK_SHOWN_MAX).map((run) => {
      const button = thumb(run, run.images?.[0], `${run.name}, seed ${run.seed}`);
      if (run === this.#run) button.setAttribute("aria-current", "true");
      button.addEventListener("click", () => this.show(run, place));
      return button;
    });
    const more = runs.length - STACK_SHOWN_MAX;
    const note = more > 0 ? [make("p", "quiet", `and ${more} more: filter to see them`)] : [];
    return strip(`${countText(runs.length, "run")} in this cell`, buttons, ...note);
  }

  #showPin() {
    const button = byId("details-pin");
    const isPinned = this.#around.pins.has(this.#run);
    button.textContent = isPinned ? "Pinned" : "Pin";
    button.setAttribute("aria-pressed", String(isPinned));
    button.title = "Pin two runs to see them side by side (P)";
  }

  #pin() {
    this.#around.pins.toggle(this.#run);
    this.#showPin();
  }

  #pressed(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key.toLowerCase() === "p") this.#pin();
    const [, , down, right] = DIRECTIONS.find(([key]) => key === event.key) ?? [];
    if (down === undefined) return;
    const next = this.#neighbour(down, right);
    if (next === undefined) {
      // Then the key scrolls, as it does elsewhere.
      say("No further run this way");
      return;
    }
    event.preventDefault();
    this.show(next.run, next);
    say(`${next.run.name}: ${next.run.title}, ${statusText(next.run)}`);
  }
}

function strip(title, buttons, ...rest) {
  return make("div", "strip", make("h3", "", title), make("div", "thumbs", ...buttons), ...rest);
}

function thumb(run, image, text) {
  const button = makeButton("", () => {});
  button.setAttribute("aria-label", text);
  button.title = text;
  button.append(makePicture(run, image, "thumb"));
  return button;
}

/** So that an address can be sent that opens at a run; without a trace in the way back. */
function rememberRun(name) {
  try {
    history.replaceState(null, "", name === "" ? location.pathname + location.search : `#${name}`);
  } catch {
    // Some browsers forbid it for files: then there is no such address.
  }
}
