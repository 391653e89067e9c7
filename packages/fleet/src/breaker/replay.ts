/**
 * The breaker over a file of events: what it would have said at an instant, under any policy. Lines are
 * `{machineId, event: "spawned"|"healthy"|"ended", at, cause?: "failed"|"intended"}`; `at` in RFC 3339
 * or epoch ms; `ended` needs a cause. Order does not matter, blank lines are passed over.
 */
import { FAILURE_KINDS, type FailureKind, type Lifespan, type MachineEnd } from "../lifespan.ts";

/** What came of reading a file of events. */
export type ReplayReading =
  | { readonly kind: "ok"; readonly lifespans: readonly Lifespan[] }
  /** Every problem with its line. */
  | { readonly kind: "invalid"; readonly problems: readonly string[] };

/** Largest file, in events: two million machines. */
export const REPLAY_EVENTS_MAX = 6_000_000;
/** Problems that are told; one wrong program writes thousands of the same. */
const PROBLEMS_MAX = 20;

interface ReplayEvent {
  readonly machineId: string;
  readonly event: "spawned" | "healthy" | "ended";
  readonly at: number;
  readonly cause: MachineEnd["cause"] | null;
  readonly kind: FailureKind | null;
}

interface Found {
  spawnedAt?: number;
  healthyAt?: number;
  end?: MachineEnd;
  line: number;
}

/** Reads the events; a machine that ended and comes again under its id is refused. */
export function readReplay(text: string): ReplayReading {
  const problems: string[] = [];
  const machines = new Map<string, Found>();
  for (const [index, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    if (index >= REPLAY_EVENTS_MAX) {
      problems.push(`line ${index + 1}: expected at most ${REPLAY_EVENTS_MAX} events`);
      break;
    }
    const event = parseEvent(line);
    const problem = typeof event === "string" ? event : addEvent(machines, event, index + 1);
    if (problem !== null) problems.push(`line ${index + 1}: ${problem}`);
    if (problems.length >= PROBLEMS_MAX) break;
  }
  if (problems.length > 0) return { kind: "invalid", problems };
  const lifespans: Lifespan[] = [];
  for (const [machineId, found] of machines) {
    const read = toLifespan(machineId, found);
    if (typeof read === "string") problems.push(`line ${found.line}: ${read}`);
    else lifespans.push(read);
    if (problems.length >= PROBLEMS_MAX) break;
  }
  return problems.length > 0 ? { kind: "invalid", problems } : { kind: "ok", lifespans };
}

/** An instant as text (RFC 3339 with a zone) or epoch ms; undefined for anything else. */
export function parseInstant(value: unknown): number | undefined {
  if (typeof value === "number") return Number.isFinite(value) ? value : undefined;
  if (typeof value !== "string") return undefined;
  if (/^-?\d+(?:\.\d+)?$/.test(value)) return Number(value);
  // Without a zone it would be another instant on another host.
  if (!/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})$/i.test(value)) {
    return undefined;
  }
  const ms = Date.parse(value);
  return Number.isNaN(ms) || !isDay(value) ? undefined : ms;
}

/** Whether the month has such a day: `Date.parse` takes February 30 for March 2. */
function isDay(text: string): boolean {
  const [year = 0, month = 0, day = 0] = text.slice(0, 10).split("-").map(Number);
  return day <= new Date(Date.UTC(year, month, 0)).getUTCDate();
}

function shown(value: unknown): string {
  return value === undefined ? "none" : JSON.stringify(value);
}

function parseEvent(line: string): ReplayEvent | string {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return "expected one JSON object a line, found no JSON";
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return "expected a JSON object";
  }
  const { machineId, event, at, cause, kind } = value as Readonly<Record<string, unknown>>;
  if (typeof machineId !== "string" || machineId === "") {
    return `machineId: expected a text, found ${shown(machineId)}`;
  }
  if (event !== "spawned" && event !== "healthy" && event !== "ended") {
    return `event: expected spawned, healthy or ended, found ${shown(event)}`;
  }
  const instant = parseInstant(at);
  if (instant === undefined) {
    return `at: expected an instant such as 2026-01-31T12:00:00Z, or epoch ms, found ${shown(at)}`;
  }
  if (event === "ended" && cause !== "failed" && cause !== "intended") {
    return `cause: expected failed or intended, found ${shown(cause)}`;
  }
  if (kind !== undefined && !isFailureKind(kind)) {
    return `kind: expected one of ${FAILURE_KINDS.join(", ")}, found ${shown(kind)}`;
  }
  return {
    machineId,
    event,
    at: instant,
    cause: cause === "failed" || cause === "intended" ? cause : null,
    kind: kind ?? null,
  };
}

function isFailureKind(value: unknown): value is FailureKind {
  return FAILURE_KINDS.some((kind) => kind === value);
}

function addEvent(
  machines: Map<string, Found>,
  { machineId, event, at, cause, kind }: ReplayEvent,
  line: number,
): string | null {
  const found: Found = machines.get(machineId) ?? { line };
  machines.set(machineId, found);
  found.line = line;
  switch (event) {
    case "spawned":
      if (found.spawnedAt !== undefined)
        return `${machineId} was spawned before: ids are used once`;
      found.spawnedAt = at;
      return null;
    case "healthy":
      // What comes and goes is told again; the first time counts.
      found.healthyAt = Math.min(at, found.healthyAt ?? at);
      return null;
    default:
      if (found.end !== undefined) return `${machineId} ended before`;
      found.end = { at, cause: cause ?? "failed", kind: cause === "failed" ? kind : null };
      return null;
  }
}

function toLifespan(machineId: string, { spawnedAt, healthyAt, end }: Found): Lifespan | string {
  if (spawnedAt === undefined) return `${machineId} has no spawned event`;
  if (healthyAt !== undefined && healthyAt < spawnedAt) {
    return `${machineId} was healthy before it was spawned`;
  }
  if (end !== undefined && end.at < spawnedAt) return `${machineId} ended before it was spawned`;
  return { machineId, spawnedAt, healthyAt: healthyAt ?? null, end: end ?? null };
}
