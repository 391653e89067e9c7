// Two pinned runs, side by side.

import {
  byId,
  durationText,
  LOSS_TEXTS,
  make,
  makeButton,
  makePicture,
  numberText,
  say,
  statusText,
} from "./elements.js";
import { valueText } from "./arrange.js";

const PINS_MAX = 2;

/** What is pinned. `changed()` is told when that changes. */
export function createPins(model, changed) {
  let pinned = [];
  const bar = byId("pins");
  const dialog = byId("pair");

  function toggle(run) {
    const isPinned = pinned.includes(run);
    // A third one takes the place of the first.
    pinned = isPinned ? pinned.filter((one) => one !== run) : [...pinned, run].slice(-PINS_MAX);
    say(`${run.name} ${isPinned ? "let go" : "pinned"}, ${pinned.length} of ${PINS_MAX}`);
    show();
    changed();
  }

  function show() {
    bar.hidden = pinned.length === 0;
    document.body.classList.toggle("has-pins", pinned.length > 0);
    const compare = makeButton("Compare", showPair, "primary");
    compare.id = "compare";
    bar.replaceChildren(
      ...pinned.map((run) => {
        const button = makeButton("×", () => toggle(run));
        button.setAttribute("aria-label", `Let ${run.name} go`);
        return make("span", "pin", makePicture(run, run.images?.[0], "thumb"), run.name, button);
      }),
      pinned.length === PINS_MAX ? compare : make("span", "quiet", "Pin another one to compare"),
    );
  }

  function showPair() {
    byId("pair-pictures").replaceChildren(
      ...pinned.map((run) =>
        make(
          "figure",
          "",
          makePicture(run, run.images?.[0], "large"),
          make("figcaption", "", make("b", "", run.name), ` ${run.title}`),
        ),
      ),
    );
    byId("pair-names").replaceChildren(
      ...["What", ...pinned.map(({ name }) => name)].map((text) => {
        const head = make("th", "", text);
        head.scope = "col";
        return head;
      }),
    );
    const rows = facts(model).flatMap(([name, of]) => {
      const [one, other] = pinned.map(of);
      return one === other ? [] : [[name, one, other]];
    });
    byId("pair-rows").replaceChildren(
      ...rows.map(([name, ...values]) => {
        const head = make("th", "", name);
        head.scope = "row";
        return make("tr", "", head, ...values.map((value) => make("td", "", value)));
      }),
    );
    byId("pair-same").hidden = rows.length > 0;
    dialog.showModal();
    dialog.scrollTo(0, 0);
  }

  byId("pair-close").addEventListener("click", () => dialog.close());
  return { toggle, has: (run) => pinned.includes(run) };
}

function facts(model) {
  return [
    ...model.dimensions.map(({ name }, at) => [name, (run) => valueText(model, run, at)]),
    ["seed", (run) => run.seed],
    ["status", statusText],
    ["duration", (run) => durationText(run.durationMs)],
    ["starts", (run) => String(run.attempts)],
    ["cost of recovery", (run) => LOSS_TEXTS[run.loss ?? 0]],
    ...model.metrics.map((name) => [
      name,
      (run) => (Object.hasOwn(run.metrics ?? {}, name) ? numberText(run.metrics[name]) : "–"),
    ]),
  ];
}
