/** Classes of errors with an example each: few, however many a target invents. */
import type { LoadSummary } from "./model.ts";

/** Most classes that are told apart; what comes later is `other`. */
export const ERROR_CLASSES_MAX = 50;
/** Longest example. */
const EXAMPLE_LENGTH_MAX = 300;

/** Errors by class. */
export interface ErrorCounts {
  add(errorClass: string, message: string): void;
  list(): LoadSummary["errors"];
}

/** No errors yet. */
export function createErrorCounts(): ErrorCounts {
  const classes = new Map<string, { count: number; example: string }>();
  return {
    add(errorClass, message) {
      const name =
        classes.has(errorClass) || classes.size < ERROR_CLASSES_MAX ? errorClass : "other";
      const found = classes.get(name);
      if (found === undefined) {
        classes.set(name, { count: 1, example: message.slice(0, EXAMPLE_LENGTH_MAX) });
      } else found.count += 1;
    },
    list: () =>
      [...classes]
        .map(([name, { count, example }]) => ({ class: name, count, example }))
        .sort((a, b) => b.count - a.count || (a.class < b.class ? -1 : 1)),
  };
}
