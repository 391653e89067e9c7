/**
 * Processes of ours that PM2 does not know: its daemon was killed, they live on and hold their port
 * and their GPU, and the next daemon lists nothing. And what holds a port that an instance needs.
 */
import { findPortHolder, holderText } from "@holdfast/runtime/host";
import type { ManagedProcess } from "./model.ts";
import { MARK } from "./process-marks.ts";
import {
  descendants,
  readMarkedProcesses,
  readProcessStats,
  startedAtMs,
  type MarkedProcess,
} from "./process-table.ts";

/** Those of the marked processes that were started as such and are not among the pids PM2 knows. */
export function orphansAmong(
  marked: readonly MarkedProcess[],
  knownPids: ReadonlySet<number>,
): readonly MarkedProcess[] {
  return marked.filter((one) => one.isMain && !knownPids.has(one.pid));
}

/** What to do with an orphan. */
export type OrphanDecision =
  /** It is what should run: it goes on, and its jobs with it. */
  | { readonly kind: "adopt"; readonly reason: string }
  | { readonly kind: "end"; readonly reason: string };

/** Decides by what should run: digest by name. */
export function decideOrphan(
  orphan: { readonly name: string; readonly digest: string },
  wanted: ReadonlyMap<string, string>,
): OrphanDecision {
  const digest = wanted.get(orphan.name);
  if (digest === undefined) {
    return { kind: "end", reason: `${orphan.name} is not wanted on this machine any more` };
  }
  if (digest !== orphan.digest) {
    return { kind: "end", reason: `${orphan.name} was started from an older configuration` };
  }
  return { kind: "adopt", reason: `${orphan.name} is what should run` };
}

/** An orphan as the process manager lists it. */
export async function toManagedProcess(orphan: MarkedProcess): Promise<ManagedProcess> {
  return {
    name: orphan.marks[MARK.name],
    state: "online",
    pid: orphan.pid,
    digest: orphan.marks[MARK.digest],
    startedAt: await startedAtMs(orphan.startTicks),
    exitCode: null,
  };
}

/** Who listens on a port. */
export type PortOwner =
  | { readonly kind: "nobody" }
  /** A process of this machine, or a child of one; `name` is the instance's. */
  | { readonly kind: "ours"; readonly name: string; readonly digest: string; readonly pid: number }
  /** Somebody else's; pid is null when it may not be seen. `words` are good for a reason. */
  | {
      readonly kind: "stranger";
      readonly pid: number | null;
      readonly command: string | null;
      readonly words: string;
    };

/**
 * Who listens on a port, by the processes' marks. `isTaken` says whether somebody does (an attempt to
 * listen): what another account runs can be listened to by nobody else and still not be seen.
 */
export async function findPortOwner(
  port: number,
  machine: string,
  isTaken: boolean,
): Promise<PortOwner> {
  const holder = await findPortHolder(port);
  if (holder === undefined && !isTaken) return { kind: "nobody" };
  const marked = await readMarkedProcesses(null);
  const stats = await readProcessStats();
  const owner =
    holder === undefined
      ? undefined
      : marked.find((one) => one.pid === holder.pid || descendants(stats, one.pid).has(holder.pid));
  return decidePortOwner({ port, machine, holder, marks: owner?.marks });
}

/** What is known of a port that is taken. */
export interface PortFacts {
  readonly port: number;
  readonly machine: string;
  readonly holder: { readonly pid: number; readonly command: string } | undefined;
  readonly marks: MarkedProcess["marks"] | undefined;
}

/** Whose a taken port is. */
export function decidePortOwner(facts: PortFacts): PortOwner {
  const { port, machine, holder, marks } = facts;
  if (holder !== undefined && marks !== undefined && marks[MARK.machine] === machine) {
    return { kind: "ours", name: marks[MARK.name], digest: marks[MARK.digest], pid: holder.pid };
  }
  const whose =
    marks === undefined ? "" : `, which belongs to the Holdfast machine in ${marks[MARK.machine]}`;
  return {
    kind: "stranger",
    pid: holder?.pid ?? null,
    command: holder?.command ?? null,
    words:
      `port ${port} is held by ${holderText(holder)}${whose}: ` +
      `end it, or give this instance another port`,
  };
}
