import { foldLine, plainText } from "../terminal/text-table.ts";

const LABEL_WIDTH = 17;

/**
 * `Failure rate     85.7% …`: a label and a fact, in further lines where `columns` has no room for it;
 * texts from outside cannot steer the screen.
 */
export function factLines(label: string, fact: string, columns: number): readonly string[] {
  return foldLine(`${label.padEnd(LABEL_WIDTH)}${plainText(fact)}`, columns, LABEL_WIDTH);
}
