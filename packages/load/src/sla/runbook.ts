/** `comfyui_sla.md`: what is promised, what was measured, and what to do where it is not kept. Pure. */
import type { LoadSummary } from "../summary/model.ts";
import type { Knee, LevelThroughput } from "./knee.ts";
import type { Trial } from "./next-trial.ts";
import { withSection } from "./runbook-sections.ts";
import type { Sla } from "./targets.ts";
import {
  measuredText,
  shortNumber,
  SLA_METRIC_WORDS,
  stateText,
  targetText,
} from "./verdict-text.ts";
import type { SlaVerdict } from "./verdict.ts";

/** A trial with so many books, and what it came to. */
export interface MeasuredTrial extends Trial, LevelThroughput {
  readonly latencyP95Seconds: number | null;
  readonly failedPercent: number | null;
  readonly jobs: number;
}

/** A search for the most books. */
export interface SlaSearch {
  readonly trials: readonly MeasuredTrial[];
  readonly books: number;
  /** `max`: more were not tried. `stopped`: somebody stopped it. */
  readonly why: "breach" | "max" | "stopped";
  readonly knee: Knee;
  /** Pages of a book in flight. */
  readonly window: number;
}

/** All that a runbook tells. */
export interface RunbookFacts {
  /** ISO. */
  readonly writtenAt: string;
  readonly target: LoadSummary["target"];
  readonly workflows: readonly { readonly name: string; readonly hash: string }[];
  readonly sla: Sla;
  readonly verdict: SlaVerdict;
  readonly search: SlaSearch | null;
}

/** The runbook `before` (empty: there was none) with what was found on a target in its section. */
export function slaRunbook(before: string, facts: RunbookFacts): string {
  const section = { url: facts.target.url, markdown: sectionText(facts) };
  return withSection(before, section, { head: HEAD, tail: WHAT_TO_DO });
}

function sectionText({ writtenAt, target, workflows, sla, verdict, search }: RunbookFacts): string {
  const kind = target.kind === "holdfast" ? "Holdfast" : "ComfyUI";
  const version = target.version === null ? "" : ` ${target.version}`;
  return [
    `## ${kind} at ${codeOf(target.url)}`,
    `Written ${writtenAt} by \`holdfast sla\` from what was measured on ${kind}${version}.`,
    ...(workflows.length === 0
      ? []
      : [
          `Workflows: ${workflows.map(({ name, hash }) => `${codeOf(name)} (hash ${codeOf(hash.slice(0, 12))})`).join(", ")}.`,
        ]),
    `### Verdict: ${verdict.state}`,
    verdictTable(verdict),
    `A figure in brackets is out of how many it came, and in the trial with how many books. The error budget is for ${sla.budgetDays} days; a book has ${sla.pagesPerBook} pages.`,
    "### How many books at a time",
    ...(search === null
      ? ["Not measured: `holdfast sla search` looks for it."]
      : searchText(search)),
  ].join("\n\n");
}

function verdictTable({ metrics }: SlaVerdict): string {
  const rows = metrics.map((one) => {
    const { name, definition } = SLA_METRIC_WORDS[one.metric];
    return `| ${name} | ${definition} | ${targetText(one)} | ${measuredText(one.metric, one.measured)} | ${stateText(one)} |`;
  });
  return [
    "| metric | is | target | measured | state |",
    "| --- | --- | --- | --- | --- |",
    ...rows,
  ].join("\n");
}

function searchText({ trials, books, why, knee, window }: SlaSearch): readonly string[] {
  const rows = trials.map(
    (one) =>
      `| ${one.books} | ${one.jobs} | ${shortNumber(one.throughputPerMinute)} | ${orNone(one.latencyP95Seconds)} | ${orNone(one.failedPercent)} | ${one.isBreached ? "breached" : "kept"} |`,
  );
  return [
    `${foundWords(books, why)} ${kneeWords(knee)}`,
    [
      "| books | jobs | images/min | p95 s | failed % | targets |",
      "| --- | --- | --- | --- | --- | --- |",
      ...rows,
    ].join("\n"),
    `Of each book at most ${window} pages are in flight, and a page's latency counts from when its book had room for it. A number of books is given up when it missed a target twice.`,
  ];
}

/** What a search found, in one sentence. */
export function foundWords(books: number, why: SlaSearch["why"]): string {
  if (why === "stopped") return `The search was stopped; ${books} at a time were good by then.`;
  if (books === 0) return "**Not even one book at a time keeps the targets.**";
  const kept = books === 1 ? "1 book at a time keeps" : `${books} books at a time keep`;
  return why === "max"
    ? `**${kept} the targets**; more were not tried.`
    : `**${kept} the targets**, ${books + 1} do not.`;
}

/** Where throughput flattens, in one sentence. */
export function kneeWords(knee: Knee): string {
  switch (knee.kind) {
    case "knee":
      return `Throughput flattens at ${knee.level} (${shortNumber(knee.throughputPerMinute)} images/min): after it a book more brings ${shortNumber(Math.max(0, knee.laterGain))} a minute at most, the first brought ${shortNumber(knee.firstGain)}.`;
    case "still_growing":
      return `Throughput still grew at ${knee.level}, the most that was tried.`;
    default:
      return `Too few numbers of books were tried to say where throughput flattens (${knee.needed} are needed).`;
  }
}

function orNone(value: number | null): string {
  return value === null ? "–" : shortNumber(value);
}

/** A name or an address from outside, as code that ends where it should. */
function codeOf(text: string): string {
  return `\`${text.replaceAll(/[`|\r\n]/g, " ")}\``;
}

const HEAD = `# SLA of ComfyUI

A section a target: \`holdfast sla search\` writes that of its own anew, and leaves what is outside of it. Run it again instead of editing it.`;

const WHAT_TO_DO = `## When a target is missed

| metric | look at | then |
| --- | --- | --- |
| throughput | \`holdfast fleet status\`, \`holdfast health\`: are all machines healthy, is one in quarantine? GPU use in the report of \`holdfast load\` | more machines (\`fleet.yaml\`: max), or a faster card; under 90 % GPU use look for slow nodes with \`holdfast profile\` |
| concurrency | the table of trials: which target was missed first? | latency: fewer pages at a time or more machines; errors: the row below |
| latency p95 | where the time goes (\`holdfast load\`: queue, model load, execute, collect) | queue: more machines; model load: jobs of one model to one machine, or smaller models; execute: \`holdfast profile\` |
| error budget | \`holdfast jobs list --status failed,timeout\`, \`GET /api/error-recovery/statistics/detailed\` | the most frequent class first; an alert says when the budget burns |
| recovery time | \`holdfast fleet status\` (is spawning BLOCKED?), \`holdfast fleet show NAME\` for how long a start takes | a prepared image; a higher minimum of machines |`;
