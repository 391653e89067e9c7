/** A notification in words, for people. */
import { SEVERITIES } from "@holdfast/alerts";
import type { NoticedAlert, Notification } from "../model.ts";

/** Alerts that a text lists; the others are counted. */
const LISTED_MAX = 20;

/** One alert in words. */
export interface AlertLine {
  readonly alert: NoticedAlert;
  /** `CRITICAL`, or `RESOLVED`. */
  readonly head: string;
  /** The summary. */
  readonly text: string;
}

/** A notification in words. */
export interface Message {
  /** One line: the first alert, and how many there are. */
  readonly title: string;
  readonly lines: readonly AlertLine[];
  /** Alerts that are not listed. */
  readonly omitted: number;
}

/** Words of a notification; the worst that fires first, what is resolved last. */
export function toMessage({ alerts, cause }: Notification): Message {
  const sorted = alerts.toSorted((one, other) => rank(other) - rank(one));
  const lines = sorted.slice(0, LISTED_MAX).map(toLine);
  const first = lines[0];
  const more = alerts.length > 1 ? ` (and ${alerts.length - 1} more)` : "";
  const what = first === undefined ? "nothing" : `${first.head}: ${first.text}`;
  const prefix = cause === "repeat" ? "still " : cause === "test" ? "test, " : "";
  return { title: `${prefix}${what}${more}`, lines, omitted: alerts.length - lines.length };
}

function rank({ status, severity }: NoticedAlert): number {
  return status === "resolved" ? -1 : SEVERITIES.indexOf(severity);
}

function toLine(alert: NoticedAlert): AlertLine {
  const { status, severity, summary } = alert;
  return { alert, head: status === "firing" ? severity.toUpperCase() : "RESOLVED", text: summary };
}

/** The whole notification as plain text. */
export function plainText(message: Message): string {
  const parts = message.lines.map(({ head, text, alert }) => {
    const labels = Object.entries(alert.labels).map(([name, value]) => `${name}=${value}`);
    const facts = [`rule ${alert.rule}`, ...labels].join(", ");
    const advice = alert.status === "firing" && alert.advice !== null ? [`  ${alert.advice}`] : [];
    return [
      `${head}: ${text}`,
      ...advice,
      `  ${facts}; since ${new Date(alert.firedAt).toISOString()}`,
    ].join("\n");
  });
  if (message.omitted > 0) parts.push(`… and ${message.omitted} more: holdfast alerts list`);
  return parts.join("\n\n");
}
