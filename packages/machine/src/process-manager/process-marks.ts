/**
 * How a process of ours is known again: names in its environment, which its children inherit. They
 * are found without PM2, also when its daemon was killed and the next one knows nothing of them.
 */

/** Names of the marks. */
export const MARK = {
  /** Digest of the spec that it was started from. */
  digest: "HOLDFAST_SPEC",
  /** Folder of the machine: two of them on one host do not touch each other's processes. */
  machine: "HOLDFAST_MACHINE",
  name: "HOLDFAST_PROCESS",
  /** Milliseconds from SIGINT to SIGKILL, known also to an agent that did not start it. */
  stopTimeoutMs: "HOLDFAST_STOP_MS",
} as const;

/** Its own pid in its environment: children inherit the text, but have another pid. */
export const MARK_PID = "HOLDFAST_PID";

/** Values of the marks. */
export type ProcessMarks = Readonly<Record<(typeof MARK)[keyof typeof MARK], string>>;

/** Reads the marks from an environment; null unless all of them are there. */
export function marksFrom(read: (name: string) => string | undefined): ProcessMarks | null {
  const digest = read(MARK.digest);
  const machine = read(MARK.machine);
  const name = read(MARK.name);
  const stopTimeoutMs = read(MARK.stopTimeoutMs);
  if (digest === undefined || machine === undefined) return null;
  if (name === undefined || stopTimeoutMs === undefined) return null;
  return {
    [MARK.digest]: digest,
    [MARK.machine]: machine,
    [MARK.name]: name,
    [MARK.stopTimeoutMs]: stopTimeoutMs,
  };
}

/** An environment as Linux keeps it, `NAME=value` ended by NUL. A name that comes twice: the first. */
export function parseEnviron(text: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const entry of text.split("\0")) {
    const at = entry.indexOf("=");
    if (at <= 0) continue;
    const name = entry.slice(0, at);
    if (!found.has(name)) found.set(name, entry.slice(at + 1));
  }
  return found;
}

/** The stop time of a marked process; `fallback` for a text that is none. */
export function stopTimeoutOf(marks: ProcessMarks | null, fallback: number): number {
  const value = Number(marks?.[MARK.stopTimeoutMs] ?? Number.NaN);
  return Number.isSafeInteger(value) && value >= 0 ? value : fallback;
}
