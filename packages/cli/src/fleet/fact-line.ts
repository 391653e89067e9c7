import { plainText } from "../terminal/text-table.ts";

const LABEL_WIDTH = 17;

/** `Failure rate     85.7% …`: a label and a fact; texts from outside cannot steer the screen. */
export function factLine(label: string, fact: string): string {
  return `${label.padEnd(LABEL_WIDTH)}${plainText(fact)}`;
}
