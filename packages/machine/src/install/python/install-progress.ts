import type { StepProgress } from "../model.ts";

/** Bytes of each of uv's units. */
const UNITS: Readonly<Record<string, number>> = {
  B: 1,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
};
const BEGUN = /^\s*Downloading (\S+) \((\d+(?:\.\d+)?)(B|KiB|MiB|GiB)\)$/;
const ENDED = /^\s*Downloaded (\S+)$/;
const PREPARED = /^Prepared \d+ packages? in /;
const INSTALLED = /^Installed (\d+) packages? in /;
/** Packages named at a time: one line of a screen. */
const NAMED_MAX = 2;

/**
 * Reads how far `uv pip install` is from its lines: it announces each larger download with its size,
 * and says when it is there. Answers undefined for a line that tells nothing new. Wording: uv 0.8 to
 * 0.13.
 */
export function createInstallProgress(): (line: string) => StepProgress | undefined {
  const running = new Map<string, number>();
  let done = 0;
  let total = 0;
  return (line) => {
    const [, begun, amount, unit] = BEGUN.exec(line) ?? [];
    const ended = ENDED.exec(line)?.[1];
    if (begun !== undefined) {
      const size = Math.round(Number(amount) * (UNITS[unit ?? ""] ?? 1));
      running.set(begun, size);
      total += size;
    } else if (ended !== undefined) {
      done += running.get(ended) ?? 0;
      running.delete(ended);
    } else if (PREPARED.test(line)) {
      return { done: 0, total: null, unit: "items", detail: "all fetched, putting them in place" };
    } else {
      const count = INSTALLED.exec(line)?.[1];
      if (count === undefined) return undefined;
      return {
        done: Number(count),
        total: null,
        unit: "items",
        detail: `${count} in place, compiling them`,
      };
    }
    return { done, total, unit: "bytes", detail: waitingFor(running) };
  };
}

/** The largest that are still on their way. */
function waitingFor(running: ReadonlyMap<string, number>): string | null {
  const names = [...running].toSorted(([, a], [, b]) => b - a).map(([name]) => name);
  if (names.length === 0) return null;
  const more = names.length - NAMED_MAX;
  return names.slice(0, NAMED_MAX).join(", ") + (more > 0 ? ` and ${more} more` : "");
}
