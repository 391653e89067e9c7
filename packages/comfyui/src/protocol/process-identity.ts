import { assertNever } from "@holdfast/runtime";

/** How many prompts an identity remembers; the oldest are forgotten first. */
const MAX_REMEMBERED = 1_000;

/**
 * Which ComfyUI process answers, as far as it shows. An attached ComfyUI tells no pid, yet "in
 * neither queue nor history" means *lost* only when another process answers now, so restarts must be
 * read off their signs. Begin with {@link UNOBSERVED_PROCESS}.
 */
export interface ProcessIdentity {
  /** Grows by one whenever another process seems to answer. */
  readonly generation: number;
  /** Why it last grew. */
  readonly reason: ProcessChange | undefined;
  /** No prompt may be taken for alive: nothing has answered since this was seen. */
  readonly isGone: boolean;
  readonly lastNumber: number | undefined;
  /** A socket broke without a closing handshake, and nothing has been found since. */
  readonly socketBroke: boolean;
  readonly versions: string | undefined;
  readonly seen: ReadonlyMap<string, "queue" | "history">;
}

/** Why a process is taken for another one. */
export type ProcessChange =
  "connection_refused" | "number_went_back" | "history_lost" | "queue_lost" | "versions_changed";

/** Something that was seen of an instance, in the order in which it was asked for. */
export type ProcessSign =
  /** Nobody listens: unlike a time-out, this is the end of a process (F12). */
  | { readonly kind: "connection_refused" }
  | { readonly kind: "socket_closed"; readonly code: number }
  /** `number` of an accepted POST without `front`: a counter that starts at 0 with the process. */
  | { readonly kind: "accepted"; readonly promptId: string; readonly number: number }
  | {
      readonly kind: "looked_up";
      readonly promptId: string;
      readonly where: "queue" | "history" | "nowhere";
    }
  /** We removed it ourselves: its absence says nothing any more. */
  | { readonly kind: "removed"; readonly promptId: string }
  /** What `/system_stats` says of versions and command line, as one text. */
  | { readonly kind: "versions"; readonly text: string };

/** An identity of which nothing has been seen. */
export const UNOBSERVED_PROCESS: ProcessIdentity = {
  generation: 0,
  reason: undefined,
  isGone: false,
  lastNumber: undefined,
  socketBroke: false,
  versions: undefined,
  seen: new Map(),
};

/** The identity after one more sign. Compare `generation` before and after; pure. */
export function observeProcess(identity: ProcessIdentity, sign: ProcessSign): ProcessIdentity {
  switch (sign.kind) {
    case "connection_refused":
      // One death is one change, however often the closed door is tried.
      return identity.isGone ? identity : { ...restart(identity, sign.kind), isGone: true };
    case "socket_closed":
      return sign.code === 1006 ? { ...identity, socketBroke: true } : identity;
    case "accepted": {
      const wentBack = identity.lastNumber !== undefined && sign.number <= identity.lastNumber;
      const now = wentBack ? restart(identity, "number_went_back") : alive(identity);
      return { ...now, lastNumber: sign.number, seen: remember(now.seen, sign.promptId, "queue") };
    }
    case "looked_up":
      return lookedUp(identity, sign.promptId, sign.where);
    case "removed": {
      const seen = new Map(identity.seen);
      seen.delete(sign.promptId);
      return { ...identity, seen };
    }
    case "versions": {
      const changed = identity.versions !== undefined && identity.versions !== sign.text;
      const now = changed ? restart(identity, "versions_changed") : alive(identity);
      return { ...now, versions: sign.text };
    }
    default:
      return assertNever(sign);
  }
}

function lookedUp(
  identity: ProcessIdentity,
  promptId: string,
  where: "queue" | "history" | "nowhere",
): ProcessIdentity {
  if (where !== "nowhere") {
    return {
      ...alive(identity),
      socketBroke: false,
      seen: remember(identity.seen, promptId, where),
    };
  }
  const before = identity.seen.get(promptId);
  if (before === "history") return restart(identity, "history_lost");
  // A prompt leaves the queue for the history; anything else needs a second sign, for somebody may
  // have deleted it by hand.
  if (before === "queue" && identity.socketBroke) return restart(identity, "queue_lost");
  return alive(identity);
}

function alive(identity: ProcessIdentity): ProcessIdentity {
  return identity.isGone ? { ...identity, isGone: false } : identity;
}

function restart(identity: ProcessIdentity, reason: ProcessChange): ProcessIdentity {
  return {
    ...UNOBSERVED_PROCESS,
    generation: identity.generation + 1,
    reason,
    versions: identity.versions,
  };
}

function remember(
  seen: ReadonlyMap<string, "queue" | "history">,
  promptId: string,
  where: "queue" | "history",
): ReadonlyMap<string, "queue" | "history"> {
  const next = new Map(seen);
  next.delete(promptId);
  next.set(promptId, where);
  const oldest = next.keys().next();
  if (next.size > MAX_REMEMBERED && oldest.done !== true) next.delete(oldest.value);
  return next;
}
