/**
 * What this process has asked of RunPod lately and the list may not show yet, or not any more. The
 * list is the truth; this bridges the seconds in which it lags, so that one name never makes two pods
 * (I1) and a pod that was just made is not taken for gone (I2). Bounded in time and number.
 */
import type { ProvidedMachine } from "@holdfast/fleet";
import type { Clock } from "@holdfast/runtime";

/** A list lags by seconds. What it does not show after this time is not there. */
export const LIST_LAG_MS = 60_000;

/** A pod that RunPod has agreed to end runs on for seconds. After this time the end was none. */
const END_LAG_MS = 300_000;

/** Of each kind; a pool makes a machine at a time. */
const REMEMBERED_MAX = 1_000;

/** See the head of this file. */
export interface RecentPods {
  /** A request with this name is about to be sent. */
  asked(name: string): void;
  /** It made nothing, for certain. */
  refused(name: string): void;
  made(machine: ProvidedMachine): void;
  /** RunPod has heard that it is to end, or has said that it is gone. */
  ended(ref: string): void;
  /** For how long a name may still turn up in the list without being there; 0 when it may not. */
  mayShowUpMs(name: string): number;
  /** Whether it was made so lately that "not found" says nothing. */
  isNew(ref: string): boolean;
  /** The listed machines as they are to be told: with those that are new, and those that end as ending. */
  merge(listed: readonly ProvidedMachine[]): readonly ProvidedMachine[];
}

interface Remembered<T> {
  readonly value: T;
  readonly untilMs: number;
}

/** Makes an empty one. */
export function createRecentPods(clock: Clock): RecentPods {
  const askedNames = new Map<string, Remembered<null>>();
  const madeByRef = new Map<string, Remembered<ProvidedMachine>>();
  const endedRefs = new Map<string, Remembered<null>>();

  const remember = <T>(
    map: Map<string, Remembered<T>>,
    key: string,
    value: T,
    ms: number,
  ): void => {
    map.delete(key);
    map.set(key, { value, untilMs: clock.elapsed() + ms });
    const [oldest] = map.keys();
    if (map.size > REMEMBERED_MAX && oldest !== undefined) map.delete(oldest);
  };
  const recall = <T>(map: Map<string, Remembered<T>>, key: string): Remembered<T> | undefined => {
    const found = map.get(key);
    if (found === undefined || found.untilMs > clock.elapsed()) return found;
    map.delete(key);
    return undefined;
  };

  return {
    asked: (name) => remember(askedNames, name, null, LIST_LAG_MS),
    refused: (name) => void askedNames.delete(name),
    made(machine) {
      askedNames.delete(machine.name);
      remember(madeByRef, machine.ref, machine, LIST_LAG_MS);
    },
    ended(ref) {
      madeByRef.delete(ref);
      remember(endedRefs, ref, null, END_LAG_MS);
    },
    mayShowUpMs(name) {
      const found = recall(askedNames, name);
      return found === undefined ? 0 : found.untilMs - clock.elapsed();
    },
    isNew: (ref) => recall(madeByRef, ref) !== undefined,
    merge(listed) {
      const refs = new Set(listed.map((one) => one.ref));
      for (const { name } of listed) askedNames.delete(name);
      const unseen = [...madeByRef.keys()]
        .filter((ref) => !refs.has(ref))
        .map((ref) => recall(madeByRef, ref)?.value)
        .filter((one) => one !== undefined);
      return [...listed, ...unseen].map((one) => {
        const isEnding = one.state !== "ended" && recall(endedRefs, one.ref) !== undefined;
        return isEnding ? { ...one, state: "ending", reason: "it was told to end" } : one;
      });
    },
  };
}
