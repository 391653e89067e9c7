/** Levers in lines. Pure. */
import type { LeverView } from "@holdfast/contract";
import { percent } from "@holdfast/fleet";
import { fieldOf } from "../api/api-client.ts";
import { textTable, type Column } from "../terminal/text-table.ts";
import type { Look } from "./look.ts";
import { agoText } from "./machines-text.ts";

const MS_PER_SECOND = 1_000;
const MS_PER_MINUTE = 60 * MS_PER_SECOND;

/** One line a lever: what it sets, who set it, when and why. */
export function leverLines(
  levers: readonly LeverView[],
  look: Look,
  /** Ids of those that hold; with it a column says which do, and what became of the others. */
  inForce?: ReadonlySet<string>,
): readonly string[] {
  const { now, columns } = look;
  const state = (held: ReadonlySet<string>): Column<LeverView> => ({
    head: "STATE",
    cell: (lever) => stateOf(lever, held, now),
  });
  const shape: readonly Column<LeverView>[] = [
    { head: "LEVER", cell: ({ id }) => id },
    { head: "SETS", cell: leverText },
    { head: "BY", cell: ({ madeBy }) => madeBy, isId: true },
    { head: "SET", cell: ({ madeAt }) => agoText(madeAt, now) },
    ...(inForce === undefined ? [] : [state(inForce)]),
    { head: "WHY", cell: whyOf },
  ];
  return textTable(levers, shape, columns);
}

/** Why it was set and, where it was undone, why that. */
function whyOf({ reason, undoneReason }: LeverView): string {
  return undoneReason === null ? reason : `${reason}; undone: ${undoneReason}`;
}

function stateOf(
  { id, kind, undoneAt, undoneBy }: LeverView,
  inForce: ReadonlySet<string>,
  now: number,
): string {
  if (undoneAt !== null) return `undone ${agoText(undoneAt, now)} by ${undoneBy ?? "?"}`;
  if (inForce.has(id)) return "in force";
  // Machines were started: nothing goes on.
  return kind === "force" ? "done" : "replaced";
}

/** What a lever sets: `threshold 90%`, `window 15 min`, `1 machine in gpu, forced`. */
export function leverText({ kind, value }: Pick<LeverView, "kind" | "value">): string {
  switch (kind) {
    case "threshold":
      return `threshold ${typeof value === "number" ? percent(value) : plain(value)}`;
    case "window":
      return `window ${typeof value === "number" ? minutesText(value) : plain(value)}`;
    case "minimum":
      return `minimum ${plain(value)} machines`;
    case "clear":
      return `failures before ${plain(value)} cleared`;
    case "pause":
      return "nothing is started or ended";
    case "force": {
      const count = Number(fieldOf(value, "count") ?? 1);
      const forced = fieldOf(value, "isForced") === true ? ", forced" : "";
      return `${count} ${count === 1 ? "machine" : "machines"} in ${plain(fieldOf(value, "pool"))}${forced}`;
    }
    default:
      // A lever of a newer server is shown as it is.
      return `${String(kind)} ${JSON.stringify(value)}`;
  }
}

/** `15 min`; what is no whole number of minutes in seconds: `1 s`, `90 s`. */
function minutesText(minutes: number): string {
  if (Number.isInteger(minutes)) return `${minutes} min`;
  return `${Math.round(minutes * MS_PER_MINUTE) / MS_PER_SECOND} s`;
}

/** A number or text as it is; anything else as JSON. */
function plain(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}
