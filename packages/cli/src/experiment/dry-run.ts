import { applyRun, runLines } from "@holdfast/experiments";
import type { Terminal } from "../terminal/terminal.ts";
import type { RunRequest } from "./request.ts";

/** `--dry-run N`: the first runs as they would be told; with `--json` one object each, graph included. */
export function dryRun(request: RunRequest, wanted: number, terminal: Terminal): void {
  const { experiment, sequence, options, startFrom } = request;
  for (const run of sequence.runs(startFrom)) {
    if (run.index >= startFrom + wanted) return;
    if (options.json === true) {
      const { index, name, title, seed, values, set } = run;
      const graph = applyRun(experiment.plan.graph, run);
      terminal.line(JSON.stringify({ index, name, title, seed, values, set, graph }));
    } else {
      for (const line of runLines(run, sequence.count)) terminal.line(line);
    }
  }
}
