// The strip over all runs: which failed, which were repeated, and when services were down.

import { byId, countText, make, makeButton, timeText } from "./elements.js";

const SVG = "http://www.w3.org/2000/svg";
/** Most bars; each stands for so many runs that they fit. */
const BARS_MAX = 400;
const HEIGHT = 28;
/** Most runs of an outage that are told one by one. */
const NAMED_MAX = 12;
/** Most outages that are open from the start: the pictures are to be seen at once. */
const OPEN_MAX = 1;
/** Most checks in the table. */
const CHECKS_MAX = 2_000;

/** From what hides nothing to what hides everything: the worst of a bar's runs is its colour. */
const KINDS = ["completed", "repeated", "failed", "down"];
const LEGEND = {
  completed: "completed",
  repeated: "repeated after an outage",
  failed: "failed",
  down: "failed in an outage, to be repeated",
};

/** Shows the strip. `open(index)` shows a run. */
export function showHealth(model, open) {
  const end = Math.max(1, model.counts.planned, (model.runs.at(-1)?.index ?? 0) + 1);
  const repeated = new Set(model.outages.flatMap((outage) => outage.repeated));
  const perBar = Math.ceil(end / BARS_MAX);
  const bars = Math.ceil(end / perBar);
  const worst = new Map();
  for (const run of model.runs) {
    const bar = Math.floor(run.index / perBar);
    const kind = kindOf(run, repeated);
    const known = worst.get(bar);
    if (known === undefined || KINDS.indexOf(kind) > KINDS.indexOf(known.kind)) {
      worst.set(bar, { kind, run });
    }
  }
  byId("strip").replaceChildren(
    drawing(model, bars, perBar, worst, open),
    make("div", "ends quiet", make("span", "", "0"), make("span", "", end.toLocaleString("en"))),
  );
  showLegend(new Set([...worst.values()].map(({ kind }) => kind)), model.outages.length > 0);
  const list = byId("outages");
  list.replaceChildren(...model.outages.map((outage) => outageItem(model, outage, open)));
  const isFew = model.outages.length <= OPEN_MAX && window.innerWidth >= 600;
  byId("outages-details").open = isFew;
  byId("outages-details").hidden = model.outages.length === 0;
  showChecks(model);
}

function kindOf(run, repeated) {
  if (run.status !== "completed") return run.status;
  return repeated.has(run.index) ? "repeated" : "completed";
}

function drawing(model, bars, perBar, worst, open) {
  const svg = shape("svg", { viewBox: `0 0 ${bars} ${HEIGHT}`, preserveAspectRatio: "none" });
  svg.setAttribute("role", "toolbar");
  svg.setAttribute("aria-label", stripText(model));
  for (const { experiment } of model.outages) {
    const at = Math.min(bars - 1, Math.floor(experiment / perBar));
    const width = Math.max(1, bars / 150);
    svg.append(shape("rect", { x: at - width / 2, y: 0, width, height: 5, class: "outage" }));
  }
  // In the order in which they are seen, for the arrow keys.
  const inOrder = [...worst].sort(([one], [other]) => one - other);
  const rects = inOrder.map(([bar, { kind, run }]) => {
    const rect = shape("rect", { x: bar, y: 8, width: 1, height: HEIGHT - 8, class: kind });
    const text = `${run.name}: ${LEGEND[kind]}`;
    rect.setAttribute("role", "button");
    rect.setAttribute("aria-label", text);
    rect.addEventListener("click", () => open(run.index));
    const title = shape("title", {});
    title.textContent = text;
    rect.append(title);
    return rect;
  });
  svg.append(...rects);
  walkBars(svg, rects);
  return svg;
}

/** One stop for the tabulator key, arrows from bar to bar: nobody wants four hundred stops. */
function walkBars(svg, rects) {
  rects.forEach((rect, at) => rect.setAttribute("tabindex", at === 0 ? "0" : "-1"));
  svg.addEventListener("focusin", ({ target }) => {
    svg.querySelector("[tabindex='0']").setAttribute("tabindex", "-1");
    target.setAttribute("tabindex", "0");
  });
  svg.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const at = rects.indexOf(event.target);
    const next = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: rects.length - 1 };
    if (Object.hasOwn(next, event.key)) rects[next[event.key]]?.focus();
    else if (event.key === "Enter" || event.key === " ")
      event.target.dispatchEvent(new Event("click"));
    else return;
    event.preventDefault();
  });
}

function stripText({ counts, outages }) {
  const down = countText(outages.length, "time", "times");
  return `${countText(counts.completed, "run")} completed, ${counts.failed} failed, services were down ${down}`;
}

function shape(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  return element;
}

function showLegend(kinds, hasOutages) {
  const keys = KINDS.filter((kind) => kinds.has(kind)).map((kind) =>
    make("span", "", make("i", kind), LEGEND[kind]),
  );
  if (hasOutages) keys.push(make("span", "", make("i", "outage"), "a service was down"));
  byId("legend").replaceChildren(...keys);
}

function outageItem(model, outage, open) {
  const until =
    outage.until === null ? "and no check passed since" : `until ${timeText(outage.until)}`;
  const left = outage.failed.filter((index) => !outage.repeated.includes(index));
  const taken =
    outage.failed.length === 0
      ? "No run failed of it."
      : `${countText(outage.failed.length, "run")} failed of it${
          left.length === 0
            ? ", all repeated since:"
            : `, ${outage.repeated.length} repeated since, ${left.length} not yet:`
        } `;
  const item = make(
    "li",
    "",
    make("strong", "", outage.messages.join("; ")),
    ` from ${timeText(outage.from)} ${until}, after ${countText(outage.experiment, "run")}. `,
    taken,
  );
  const byIndex = new Map(model.runs.map((run) => [run.index, run]));
  const named = [...left, ...outage.repeated].slice(0, NAMED_MAX);
  for (const index of named) {
    const run = byIndex.get(index);
    if (run === undefined) continue;
    item.append(
      makeButton(run.name, () => open(index), "link"),
      " ",
    );
  }
  const more = outage.failed.length - named.length;
  if (more > 0) item.append(`and ${more} more`);
  return item;
}

function showChecks({ checks, outages }) {
  byId("checks").hidden = checks.length === 0;
  const failed = checks.filter(({ isHealthy }) => !isHealthy).length;
  const isCut = checks.length > CHECKS_MAX ? `, the first ${CHECKS_MAX} here` : "";
  byId("checks-summary").textContent =
    `${countText(checks.length, "health check")}, ${failed === 0 ? "all passed" : `${failed} failed`}${isCut}`;
  byId("health-summary").textContent = countText(outages.length, "outage");
  // Made when somebody looks: two thousand rows cost the first sight of the page too much.
  byId("checks").addEventListener(
    "toggle",
    () =>
      byId("checks-rows").replaceChildren(
        ...checks
          .slice(0, CHECKS_MAX)
          .map(({ at, experiment, isHealthy, text }) =>
            make(
              "tr",
              isHealthy ? "" : "bad",
              make("td", "", String(experiment)),
              make("td", "", timeText(at)),
              make("td", "", text),
            ),
          ),
      ),
    { once: true },
  );
}
