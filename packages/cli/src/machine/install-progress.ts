import type { InstallEvent, StepProgress, StepResult } from "@holdfast/machine";
import { assertNever } from "@holdfast/runtime";
import { bytesText, durationText } from "../terminal/durations.ts";
import type { Terminal } from "../terminal/terminal.ts";

/** How each outcome of a step is marked. */
const MARKS: Readonly<Record<StepResult["outcome"], string>> = {
  skipped: "ok  ",
  done: "done",
  failed: "FAIL",
  not_reached: "-   ",
};

/** Where nobody watches a screen, a step's progress gets a line no more often than this. */
const LINE_EVERY_MS = 30_000;

/**
 * Shows an installation as it goes: a line for each step that did something; how far the running ones
 * are as a bar on a screen, and as a line now and then in a log.
 */
export function watchInstall(terminal: Terminal): (event: InstallEvent) => void {
  const toldAt = new Map<string, number>();
  const tellSeldom = (id: string, at: number, text: string): void => {
    if (terminal.isInteractive) return;
    const last = toldAt.get(id);
    if (last === undefined) toldAt.set(id, at);
    if (last === undefined || at - last < LINE_EVERY_MS) return;
    toldAt.set(id, at);
    terminal.note(`...  ${text}`);
  };
  const running = new Map<string, { readonly title: string; progress: StepProgress | null }>();
  const redraw = (): void => {
    const parts = [...running.values()].map(({ title, progress }) => {
      return progress === null ? title : `${title} ${progressText(progress)}`;
    });
    terminal.progress(parts.join(" | ").slice(0, terminal.columns - 1));
  };
  return (event) => {
    switch (event.kind) {
      case "step.started":
        running.set(event.id, { title: event.title, progress: null });
        redraw();
        return;
      case "step.progress": {
        const step = running.get(event.id);
        if (step !== undefined) {
          step.progress = event.progress;
          tellSeldom(event.id, event.at, `${step.title}: ${progressText(event.progress)}`);
        }
        redraw();
        return;
      }
      case "step.ended":
        running.delete(event.result.id);
        for (const line of resultLines(event.result)) terminal.note(line);
        redraw();
        return;
      case "ended":
        terminal.progress("");
        return;
      case "started":
      case "step.log":
        return;
      default:
        assertNever(event);
    }
  };
}

/** A step's end in lines; none for what was done already. */
export function resultLines(result: StepResult): readonly string[] {
  const { outcome, title, detail, advice, durationMs, isOptional } = result;
  if (outcome === "skipped") return [];
  const optional = isOptional && outcome === "failed" ? " (optional)" : "";
  const took = outcome === "done" || outcome === "failed" ? ` (${durationText(durationMs)})` : "";
  // Why it was needed is in the plan and in the log.
  const text = outcome === "done" ? "" : `: ${detail}`;
  const line = `${MARKS[outcome]} ${title}${optional}${text}${took}`;
  return advice === null || outcome !== "failed" ? [line] : [line, `     ${advice}`];
}

function progressText({ done, total, unit, detail }: StepProgress): string {
  const amount = unit === "bytes" ? bytesText(done) : String(done);
  if (total === null || total === 0) return detail ?? amount;
  const percent = Math.floor((100 * done) / total);
  const all = unit === "bytes" ? bytesText(total) : String(total);
  return `${percent} % of ${all}${detail === null ? "" : ` (${detail})`}`;
}
