// Everything that is known of one run, in words.

import {
  copyText,
  durationText,
  LOSS_TEXTS,
  make,
  makeButton,
  numberText,
  say,
  statusText,
  timeText,
} from "./elements.js";
import { valueText } from "./arrange.js";

/** A run's status, error, values, timing, recovery and what was set, as elements. */
export function runFacts(model, run) {
  const parts = [make("p", `status ${run.status}`, statusText(run))];
  if (run.best !== undefined) parts.push(make("p", "star-line", `★ best: ${run.best}`));
  if (run.error !== undefined) parts.push(...errorFacts(model, run));
  parts.push(
    table("Values", [
      ...model.dimensions.map(({ name }, at) => [name, valueText(model, run, at)]),
      ["seed", run.seed],
    ]),
  );
  const measured = Object.entries(run.metrics ?? {}).map(([name, value]) => [
    name,
    numberText(value),
  ]);
  parts.push(
    table("Timing and metrics", [
      ["duration", durationText(run.durationMs)],
      ["started", timeText(run.startedAt)],
      ["ended", timeText(run.endedAt)],
      ["starts", String(run.attempts)],
      ...measured,
    ]),
  );
  if (run.recovery !== undefined) {
    parts.push(
      make("h3", "", "Recovery"),
      make("p", "", `${run.recovery.join(", then ")}; it cost ${LOSS_TEXTS[run.loss ?? 0]}`),
    );
  }
  if (run.earlier !== undefined) {
    parts.push(
      make("h3", "", "Failed before"),
      make("ul", "plain", ...run.earlier.map((text) => make("li", "", text))),
    );
  }
  if (run.elsewhere !== undefined) {
    parts.push(
      make("h3", "", "Pictures kept elsewhere"),
      make("ul", "plain", ...run.elsewhere.map((text) => make("li", "", text))),
    );
  }
  if (run.set !== undefined) parts.push(setValues(run.set.map((at) => model.sets[at])));
  return parts;
}

function errorFacts(model, run) {
  const parts = [make("pre", "error", run.error)];
  if (run.exception !== undefined) parts.push(make("p", "quiet", run.exception));
  if (run.traceback !== undefined) {
    parts.push(make("h3", "", "Traceback"), make("pre", "set", model.tracebacks[run.traceback]));
  }
  return parts;
}

function table(title, rows) {
  const body = make("tbody");
  for (const [name, value] of rows) {
    const head = make("th", "", name);
    head.scope = "row";
    body.append(make("tr", "", head, make("td", "", value)));
  }
  return make("table", "values", make("caption", "", title), body);
}

/** What was put into the graph, as options of `holdfast submit`. */
function setValues(texts) {
  const options = texts.map((text) => `--set '${text.replaceAll("'", `'\\''`)}'`);
  const button = makeButton("Copy", async () => {
    const isCopied = await copyText(options.join(" "));
    button.textContent = isCopied ? "Copied" : "Not copied: mark the text";
    say(button.textContent);
  });
  const title = make("h3", "", "Set in the graph ");
  title.append(button);
  const text = make("pre", "set", options.join("\n"));
  return make("div", "", title, text);
}
