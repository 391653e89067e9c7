/** `holdfast fleet show`: everything that is known of one machine, in lines. Pure. */
import type { FleetMachineView, StartupStep } from "@holdfast/contract";
import { durationText } from "../terminal/durations.ts";
import { textTable, type Column } from "../terminal/text-table.ts";
import { factLines } from "./fact-line.ts";
import { indented, type Look } from "./look.ts";
import { instantText, stateOf } from "./machines-text.ts";

/** A start, an installation or an update of a machine, as `GET /api/v1/machines/{id}` has it. */
export interface MachineRun {
  readonly runId: string;
  readonly kind: string;
  readonly ok: boolean;
  readonly startedAt: string;
  readonly durationMs: number;
  readonly steps: readonly Pick<
    StartupStep,
    "title" | "outcome" | "durationMs" | "detail" | "advice"
  >[];
  /** Where the server has its whole log; null when it has none. */
  readonly logUrl: string | null;
}

const MS_PER_HOUR = 3_600_000;
/** Runs that are shown, the newest ones; `--json` has all. */
const RUNS_SHOWN = 3;

/** The page of a machine; `runs` are the newest first, null where its agent never registered. */
export function machinePage(
  machine: FleetMachineView,
  runs: readonly MachineRun[] | null,
  look: Look,
): readonly string[] {
  return [
    `${machine.name}: ${stateOf(machine)}`,
    ...factsOf(machine, look.now).flatMap(([label, words]) =>
      words === "" ? [] : factLines(label, words, look.columns),
    ),
    ...runsLines(machine, runs, look),
  ];
}

type Fact = readonly [label: string, words: string];

function factsOf(machine: FleetMachineView, now: number): readonly Fact[] {
  const { endCause, endKind, reason, pool, provider, gpuType, jobs, endedAt } = machine;
  const isOver = endedAt !== null;
  const cause = endCause === "intended" ? "it was to end" : endCause;
  return [
    ["Cause", [cause, endKind].filter((text) => text !== null).join(": ")],
    ["Why", reason ?? ""],
    ["Pool", `${pool}, provider ${provider}`],
    ["Id", [machine.id, machine.machineId].filter((id) => id !== null).join(", agent ")],
    ["Provider's id", machine.ref ?? ""],
    ["GPU", gpuType ?? ""],
    ["Heartbeat", isOver ? "" : heartbeatText(machine)],
    ["Jobs", isOver ? "" : String(jobs)],
    ["Asked for", askedText(machine, now)],
    ["Created", instantText(machine.createdAt, now)],
    ["Healthy", instantText(machine.healthyAt, now) || "never"],
    ["Ended", instantText(endedAt, now)],
    ["Cost", costText(machine, now)],
    ["Log", logText(machine)],
  ];
}

function heartbeatText({ heartbeatAgeMs }: FleetMachineView): string {
  return heartbeatAgeMs === null ? "never" : `${durationText(heartbeatAgeMs)} ago`;
}

function askedText({ askedAt, forcedBy }: FleetMachineView, now: number): string {
  return `${instantText(askedAt, now)}${forcedBy === null ? "" : `, by ${forcedBy}`}`;
}

function costText(
  { pricePerHour, provider, createdAt, askedAt, endedAt }: FleetMachineView,
  now: number,
): string {
  if (pricePerHour === null) return provider === "static" ? "" : "its price is not known";
  const until = endedAt === null ? now : Date.parse(endedAt);
  const hours = Math.max(0, until - Date.parse(createdAt ?? askedAt)) / MS_PER_HOUR;
  const whole = (hours * pricePerHour).toFixed(2);
  return `$${pricePerHour.toFixed(2)} an hour, about $${whole} ${endedAt === null ? "so far" : "in all"}`;
}

/** Where what it printed is to be read. */
function logText({ provider, name, ref }: FleetMachineView): string {
  switch (provider) {
    case "local":
      return `on the server's host: fleet/${name}/machine.log in its data folder (HOLDFAST_HOME), or ${name}/machine.log in the pool's local.root; of ended machines the last are kept (local.keepEnded)`;
    case "kubernetes":
      return `kubectl logs ${ref ?? name}, in the pool's namespace, while the pod is kept (kubernetes.keepEndedSec)`;
    case "runpod":
      return `in RunPod's console, at pod ${ref ?? name}`;
    default:
      return "on its host, where its agent was started";
  }
}

function runsLines(
  { machineId }: FleetMachineView,
  runs: readonly MachineRun[] | null,
  look: Look,
): readonly string[] {
  if (runs === null) {
    const words =
      machineId === null
        ? "none: its agent never registered here"
        : "none: the server does not know its agent any more";
    return factLines("Steps", words, look.columns);
  }
  if (runs.length === 0) return factLines("Steps", "none were told", look.columns);
  const left = runs.length - RUNS_SHOWN;
  const more = left > 0 ? factLines("Steps", `${left} older runs: --json`, look.columns) : [];
  return [...runs.slice(0, RUNS_SHOWN).flatMap((run) => runLines(run, look)), ...more];
}

function runLines(run: MachineRun, look: Look): readonly string[] {
  const { kind, ok, startedAt, durationMs, logUrl, steps } = run;
  const outcome = ok ? "no step failed" : "failed";
  const log = logUrl === null ? "" : `; its log: GET ${logUrl}`;
  const words = `${kind} at ${startedAt}, ${durationText(durationMs)}, ${outcome}${log}`;
  type Step = MachineRun["steps"][number];
  const shape: readonly Column<Step>[] = [
    { head: "OUTCOME", cell: ({ outcome: what }) => what },
    { head: "TOOK", cell: (step) => durationText(step.durationMs), isRight: true },
    { head: "STEP", cell: ({ title }) => title },
    { head: "DETAIL", cell: ({ detail, advice }) => [detail, advice].filter(Boolean).join(" → ") },
  ];
  return [
    ...factLines("Steps", words, look.columns),
    ...indented(look, ({ columns }) => textTable(steps, shape, columns)),
  ];
}
