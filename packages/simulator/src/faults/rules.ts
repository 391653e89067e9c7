import type { LeakHolder } from "../card/vram.ts";

/** What a fault applies to. Every condition given must hold. */
export interface FaultMatch {
  /** The n-th prompt that runs after the rule was made, counted from 1. */
  readonly nthPrompt?: number;
  readonly promptId?: string;
  readonly nodeClass?: string;
  /** Start of a request's path, without `/api`. */
  readonly path?: string;
  readonly method?: string;
  /** Chance for each occasion, 0..1, drawn from the seeded generator. */
  readonly probability?: number;
  /** How often it strikes; 0 is for ever. Default 1. */
  readonly count?: number;
}

/**
 * A fault, and when it strikes. Without anything in `match`, `crash`, `zombie`, `gc_pause`,
 * `leak`, `other_process`, `drop_socket`, `stall_socket` and `lose_registration` strike at once.
 */
export type FaultRule = { readonly match?: FaultMatch } & FaultAction;

/** Every kind of fault. Times are real milliseconds. */
export type FaultAction =
  /** Cuts sockets (1006), after so many events of a prompt if said. */
  | { readonly kind: "drop_socket"; readonly afterEvents?: number }
  /** Leaves sockets open, and silent from then on, pings included. */
  | { readonly kind: "stall_socket"; readonly afterEvents?: number }
  /** Forgets which socket belongs to a client id (F8). */
  | { readonly kind: "lose_registration"; readonly afterEvents?: number }
  /** Answers late. */
  | { readonly kind: "delay"; readonly ms: number }
  /** Answers with an error instead of, or after, doing what was asked. */
  | { readonly kind: "http_error"; readonly status: number; readonly when?: "before" | "after" }
  /** Cuts the connection before, or after, doing what was asked. */
  | { readonly kind: "reset"; readonly when?: "before" | "after" }
  /** The process dies; it comes back after `downMs`, or never. Nothing but its files survives. */
  | {
      readonly kind: "crash";
      readonly downMs?: number;
      readonly isForEver?: boolean;
      /** At a matched request: before it is served, or after, with its answer lost. */
      readonly when?: "before" | "after";
    }
  /** The prompt thread ends, the server goes on answering (F26). */
  | { readonly kind: "zombie" }
  /** `/view` gives altered or cut bytes. */
  | { readonly kind: "corrupt_file"; readonly how?: "truncate" | "alter" }
  /** The file is gone when asked for, or right after it was saved when a node is matched. */
  | { readonly kind: "delete_file" }
  | { readonly kind: "disk_full" }
  /** Reading a model takes so much longer. */
  | { readonly kind: "slow_load"; readonly ms: number }
  /**
   * Memory of the card that nothing unloads: at once, or after each matching prompt. What the node
   * cache holds comes back with `/free`, what the process holds (the default) with its end.
   */
  | { readonly kind: "leak"; readonly bytes: number; readonly heldBy?: LeakHolder }
  /** Another process takes so much of the card, until it is set to 0. */
  | { readonly kind: "other_process"; readonly bytes: number }
  /** A node runs out of memory. */
  | { readonly kind: "oom" }
  /** A node raises. */
  | { readonly kind: "raise"; readonly exceptionType?: string; readonly message?: string }
  /** A node makes no progress; `polls` says whether an interrupt ends it. */
  | { readonly kind: "hang"; readonly polls?: boolean }
  /** Nothing answers for a while, neither HTTP nor sockets (F29). */
  | { readonly kind: "gc_pause"; readonly ms: number };

/** A rule with its id and how often it struck. */
export interface FaultRecord {
  readonly id: string;
  readonly rule: FaultRule;
  readonly struck: number;
}

const KINDS: ReadonlySet<string> = new Set<FaultAction["kind"]>([
  "drop_socket",
  "stall_socket",
  "lose_registration",
  "delay",
  "http_error",
  "reset",
  "crash",
  "zombie",
  "corrupt_file",
  "delete_file",
  "disk_full",
  "slow_load",
  "leak",
  "other_process",
  "oom",
  "raise",
  "hang",
  "gc_pause",
]);

const NEEDED: Readonly<Record<string, string>> = {
  delay: "ms",
  slow_load: "ms",
  gc_pause: "ms",
  http_error: "status",
  leak: "bytes",
  other_process: "bytes",
};

/** Reads a rule from the outside; what is wrong with it, as text. */
export function parseFaultRule(value: unknown): FaultRule | string {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return "expected an object with a kind";
  }
  const given = value as Readonly<Record<string, unknown>>;
  const kind = given["kind"];
  if (typeof kind !== "string" || !KINDS.has(kind)) {
    return `kind: expected one of ${[...KINDS].join(", ")}`;
  }
  const needed = NEEDED[kind];
  if (needed !== undefined && typeof given[needed] !== "number") {
    return `${needed}: expected a number for ${kind}`;
  }
  const match = given["match"];
  if (match !== undefined && (typeof match !== "object" || match === null)) {
    return "match: expected an object";
  }
  return given as unknown as FaultRule;
}
