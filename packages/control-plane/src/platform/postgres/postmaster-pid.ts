/** What `postmaster.pid` in a data folder says (PostgreSQL 10–18 write the same lines). */
export interface PostmasterPid {
  readonly pid: number;
  readonly dataFolder: string;
  /** Undefined while the server has not come so far. */
  readonly port: number | undefined;
  /** `starting`, `ready`, `stopping`, `standby`; undefined while not yet written. */
  readonly status: string | undefined;
}

/** Parses `postmaster.pid`. Undefined when the text is none (empty, torn, something else's). */
export function parsePostmasterPid(text: string): PostmasterPid | undefined {
  const lines = text.split("\n").map((line) => line.trim());
  const pid = Number(lines[0]);
  const dataFolder = lines[1];
  if (!Number.isSafeInteger(pid) || pid <= 0 || dataFolder === undefined || dataFolder === "") {
    return undefined;
  }
  const port = Number(lines[3]);
  const status = lines[7];
  return {
    pid,
    dataFolder,
    port: Number.isInteger(port) && port > 0 && port < 65_536 ? port : undefined,
    status: status === undefined || status === "" ? undefined : status,
  };
}

/** What is known about a data folder when a Postgres is wanted on it. */
export interface ClusterFacts {
  /** Undefined: no file. `unreadable`: a file that does not parse. */
  readonly pidFile: PostmasterPid | "unreadable" | undefined;
  readonly isPidAlive: boolean;
  /** Whether the living process is a Postgres on this very folder, and not a reused pid. */
  readonly isOurPostgres: boolean;
  /** What a real query with our password gave. */
  readonly answer: "ok" | "wrong_password" | "none";
}

/** What to do about a data folder. */
export type ClusterDecision =
  | { readonly kind: "start" }
  /** `postmaster.pid` speaks of a process that is gone: Postgres itself would be misled by a reused pid. */
  | { readonly kind: "clean_and_start" }
  | { readonly kind: "adopt"; readonly pid: number; readonly port: number }
  /** Ours, alive, not answering: it may be recovering from a crash, or on its way out. */
  | { readonly kind: "wait"; readonly pid: number }
  | { readonly kind: "refuse"; readonly pid: number; readonly reason: "wrong_password" };

/** Decides between adopting, waiting for, and starting a Postgres. Pure. */
export function decideCluster(facts: ClusterFacts): ClusterDecision {
  const { pidFile } = facts;
  if (pidFile === undefined) return { kind: "start" };
  // Postgres writes the file before it serves anybody, in one go: a torn one is from a crash of the machine.
  if (pidFile === "unreadable") return { kind: "clean_and_start" };
  if (!facts.isPidAlive || !facts.isOurPostgres) return { kind: "clean_and_start" };
  if (facts.answer === "wrong_password") {
    return { kind: "refuse", pid: pidFile.pid, reason: "wrong_password" };
  }
  if (facts.answer === "ok" && pidFile.port !== undefined) {
    return { kind: "adopt", pid: pidFile.pid, port: pidFile.port };
  }
  return { kind: "wait", pid: pidFile.pid };
}
