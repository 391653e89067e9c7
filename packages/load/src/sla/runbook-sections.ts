/**
 * The runbook as a file of sections, one a target. Each stands between two marks, so that a new search of its
 * target replaces it, and what is outside (other targets, what somebody wrote by hand) stays. Pure.
 */

/** A section: the address that it is of, and its text. */
export interface RunbookSection {
  readonly url: string;
  readonly markdown: string;
}

/** Around the sections of a file that is made anew. */
export interface RunbookFrame {
  readonly head: string;
  readonly tail: string;
}

/** Largest runbook that is read: a section has some thousand characters. */
export const RUNBOOK_BYTES_MAX = 1024 * 1024;

const BEGIN = "<!-- holdfast sla: begin ";
const END = "<!-- holdfast sla: end -->";

/** The file with the section in it: in the place of the one of its target, else behind the last one. */
export function withSection(
  text: string,
  { url, markdown }: RunbookSection,
  { head, tail }: RunbookFrame,
): string {
  const section = `${beginOf(url)}\n\n${markdown}\n\n${END}`;
  if (text.trim() === "") return `${head}\n\n${section}\n\n${tail}\n`;
  const start = text.indexOf(beginOf(url));
  if (start >= 0) {
    const end = endAfter(text, start);
    return `${text.slice(0, start)}${section}${text.slice(end)}`;
  }
  const last = text.lastIndexOf(END);
  if (last < 0) return `${text.trimEnd()}\n\n${section}\n`;
  const behind = last + END.length;
  return `${text.slice(0, behind)}\n\n${section}${text.slice(behind)}`;
}

/** Sections that a file has, of whatever target. */
export function sectionCount(text: string): number {
  return text.split(BEGIN).length - 1;
}

/** Where a section ends. One whose end somebody took away ends before the next one, or with the file. */
function endAfter(text: string, start: number): number {
  const end = text.indexOf(END, start);
  const next = text.indexOf(BEGIN, start + 1);
  if (end >= 0 && (next < 0 || end < next)) return end + END.length;
  return next < 0 ? text.length : next;
}

/** An address cannot end the comment that it is in. */
function beginOf(url: string): string {
  return `${BEGIN}${url.replaceAll(/[<>\r\n]/g, "")} -->`;
}
