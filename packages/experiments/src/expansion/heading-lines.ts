/** The indented lines of a run, `Tech: dpmpp_2m s=80`. */
import type { PlannedDimension } from "../plan.ts";
import type { Option } from "../spec/options.ts";
import { filledPattern } from "../spec/placeholders.ts";

/** Longest title of a run. */
export const TITLE_MAX = 120;
/** Longest value in a line: a prompt is told by how it begins. */
const VALUE_MAX = 200;

/** The lines that CONTRACTS C6 has, in its order; others come behind them. */
const FIRST_HEADINGS = ["Subject", "Setting", "Tech", "LoRAs"];

/** One line a heading, the values of its dimensions in their order; nothing of an empty text. */
export function headingLines(
  dimensions: readonly PlannedDimension[],
  choices: readonly Option[],
): readonly string[] {
  const told = new Map<string, string[]>();
  for (const [at, { name, heading, label }] of dimensions.entries()) {
    const value = choices[at]?.value;
    if (heading === null || value === undefined) continue;
    const filled = filledPattern(label, (called) =>
      called === "value" ? String(value) : called === "name" ? name : undefined,
    );
    const text = oneLine(filled, VALUE_MAX);
    if (text === "") continue;
    const line = told.get(heading);
    if (line === undefined) told.set(heading, [text]);
    else line.push(text);
  }
  const headings = [
    ...FIRST_HEADINGS.filter((one) => told.has(one)),
    ...[...told.keys()].filter((one) => !FIRST_HEADINGS.includes(one)),
  ];
  return headings.map((heading) => `${heading}: ${told.get(heading)?.join(" ") ?? ""}`);
}

/** A text on one line and without what would move a terminal's cursor; cut where it is too long. */
export function oneLine(text: string, max: number): string {
  const plain = text
    .replace(/\s+/g, " ")
    .replace(/\p{Cc}|\p{Cf}/gu, "")
    .trim();
  // A cut may not leave half of a character that takes two units.
  const cut = plain.slice(0, max - 1).replace(/[\uD800-\uDBFF]$/, "");
  return plain.length > max ? `${cut.trimEnd()}…` : plain;
}
