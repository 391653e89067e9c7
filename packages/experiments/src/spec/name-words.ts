import { nearestName } from "@holdfast/yaml-file";

/** Most names that a message lists. */
const LISTED_MAX = 20;
/** Longest text that a message repeats. */
const SHOWN_MAX = 80;

/** `did you mean "subject"?`, or what there is. */
export function nearWords(wanted: string, known: readonly (string | number | boolean)[]): string {
  const near = nearestName(
    wanted,
    known.map((one) => String(one)),
  );
  const meant = known.find((one) => String(one) === near);
  if (meant !== undefined) return `did you mean ${shown(meant)}?`;
  if (known.length === 0) return "there is none";
  const more = known.length > LISTED_MAX ? ", …" : "";
  const listed = known.slice(0, LISTED_MAX).map((one) => shown(one));
  return `known here: ${listed.join(", ")}${more}`;
}

/** A name or value for a message. */
export function shown(value: string | number | boolean): string {
  if (typeof value !== "string") return String(value);
  return JSON.stringify(value.length > SHOWN_MAX ? `${value.slice(0, SHOWN_MAX)}…` : value);
}
