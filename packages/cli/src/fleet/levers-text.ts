/** Levers in lines. Pure. */
import type { LeverView } from "@holdfast/contract";
import { percent } from "@holdfast/fleet";
import { fieldOf } from "../api/api-client.ts";
import { textTable, type Column } from "../terminal/text-table.ts";
import { agoText } from "./machines-text.ts";

/** One line a lever: what it sets, who set it, when and why. `now` is epoch ms. */
export function leverLines(
  levers: readonly LeverView[],
  { now, columns }: { readonly now: number; readonly columns: number },
): readonly string[] {
  const hasUndone = levers.some(({ undoneAt }) => undoneAt !== null);
  const undone: readonly Column<LeverView>[] = [{ head: "UNDONE", cell: undoneOf }];
  const shape: readonly Column<LeverView>[] = [
    { head: "LEVER", cell: ({ id }) => id },
    { head: "SETS", cell: leverText },
    { head: "BY", cell: ({ madeBy }) => madeBy },
    { head: "SET", cell: ({ madeAt }) => agoText(madeAt, now) },
    ...(hasUndone ? undone : []),
    { head: "WHY", cell: ({ reason }) => reason },
  ];
  return textTable(levers, shape, columns);
}

function undoneOf({ undoneAt, undoneBy }: LeverView): string {
  return undoneAt === null ? "" : `by ${undoneBy ?? "?"}`;
}

/** What a lever sets: `threshold 90%`, `window 15 min`, `1 machine in gpu, forced`. */
export function leverText({ kind, value }: Pick<LeverView, "kind" | "value">): string {
  switch (kind) {
    case "threshold":
      return `threshold ${typeof value === "number" ? percent(value) : plain(value)}`;
    case "window":
      return `window ${plain(value)} min`;
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

/** A number or text as it is; anything else as JSON. */
function plain(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}
