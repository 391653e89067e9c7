/** Alerts and their rules in lines. Pure. */
import type { AlertDeliveryView, AlertRuleView, AlertView } from "@holdfast/contract";
import { factLines } from "../fleet/fact-line.ts";
import { indented, type Look } from "../fleet/look.ts";
import { agoText, instantText } from "../fleet/machines-text.ts";
import { durationText } from "../terminal/durations.ts";
import { plainText, textTable, type Column } from "../terminal/text-table.ts";

/** The columns of a list of alerts. */
export function alertColumns(now: number): readonly Column<AlertView>[] {
  return [
    { head: "ID", cell: ({ id }) => id },
    { head: "SEVERITY", cell: ({ severity }) => severity },
    { head: "STATE", cell: stateText },
    { head: "SINCE", cell: ({ since }) => durationText(Math.max(0, now - Date.parse(since))) },
    { head: "RULE", cell: ({ rule }) => rule },
    { head: "WHAT", cell: whatText },
  ];
}

function whatText({ summary, acknowledged }: AlertView): string {
  if (acknowledged === null) return summary;
  const note = acknowledged.note === null ? "" : `: ${acknowledged.note}`;
  return `${summary} (acknowledged by ${acknowledged.by}${note})`;
}

/** `firing, silenced, acknowledged`. */
export function stateText({ state, silencedBy, acknowledged }: AlertView): string {
  return [
    state,
    ...(silencedBy === null ? [] : ["silenced"]),
    ...(acknowledged === null || state === "resolved" ? [] : ["acknowledged"]),
  ].join(", ");
}

/** The page of an alert; `deliveries` are those that told of it, newest first. */
export function alertPage(
  alert: AlertView,
  deliveries: readonly AlertDeliveryView[],
  look: Look,
): readonly string[] {
  return [
    `${alert.severity.toUpperCase()} ${plainText(alert.rule)}: ${stateText(alert)}`,
    ...factsOf(alert, look.now).flatMap(([label, words]) =>
      words === "" ? [] : factLines(label, words, look.columns),
    ),
    ...sentLines(deliveries, look),
  ];
}

type Fact = readonly [label: string, words: string];

function factsOf(alert: AlertView, now: number): readonly Fact[] {
  const { acknowledged, labels, silencedBy } = alert;
  return [
    ["What", alert.summary],
    ["Advice", alert.advice ?? ""],
    ["Id", alert.id],
    [
      "Labels",
      Object.entries(labels)
        .map(([name, value]) => `${name}=${value}`)
        .join(" "),
    ],
    ["Value", String(alert.value)],
    ["Since", instantText(alert.since, now)],
    ["Fired", instantText(alert.firedAt, now)],
    ["Resolved", instantText(alert.resolvedAt, now)],
    ["Why resolved", alert.reason ?? ""],
    ["Acknowledged", acknowledgedText(alert, now)],
    ["Note", acknowledged?.note ?? ""],
    ["Silenced by", silencedBy === null ? "" : `${silencedBy} (holdfast alerts silences)`],
  ];
}

function acknowledgedText({ acknowledged, state, id }: AlertView, now: number): string {
  if (acknowledged === null) {
    return state === "resolved" ? "by nobody" : `by nobody: holdfast alerts ack ${id}`;
  }
  return `by ${acknowledged.by} at ${instantText(acknowledged.at, now)}`;
}

function sentLines(deliveries: readonly AlertDeliveryView[], look: Look): readonly string[] {
  if (deliveries.length === 0) return factLines("Sent to", "nobody yet", look.columns);
  const shape: readonly Column<AlertDeliveryView>[] = [
    { head: "CHANNEL", cell: ({ channel }) => channel },
    { head: "STATE", cell: ({ state }) => state },
    { head: "FOR", cell: ({ cause }) => cause },
    { head: "WHEN", cell: ({ createdAt }) => agoText(createdAt, look.now) },
    { head: "TRIES", cell: ({ attemptCount }) => String(attemptCount), isRight: true },
    { head: "LAST ERROR", cell: ({ lastError }) => lastError ?? "" },
  ];
  return ["Sent to", ...indented(look, ({ columns }) => textTable(deliveries, shape, columns))];
}

/** The columns of a list of rules. */
export const RULE_COLUMNS: readonly Column<AlertRuleView>[] = [
  { head: "RULE", cell: ({ name }) => name },
  { head: "SEVERITY", cell: ({ severity }) => severity ?? "" },
  { head: "FROM", cell: ({ source }) => source.replace("_", " ") },
  { head: "STATE", cell: ruleStateText },
  { head: "WHEN", cell: whenText },
];

function ruleStateText({ enabled, hasData, alerts, omitted }: AlertRuleView): string {
  if (!enabled) return "off";
  const more = omitted > 0 ? ` (${omitted} left out)` : "";
  if (alerts > 0) return `${alerts} alert${alerts === 1 ? "" : "s"}${more}`;
  return hasData ? "inactive" : "no data";
}

function whenText({ when, alongside, forMs }: AlertRuleView): string {
  if (when === null) return "";
  const all = [when, ...alongside].map(({ metric, where, above, below }) => {
    const series = `${metric}${whereText(where)}`;
    return above === undefined ? `${series} < ${below}` : `${series} > ${above}`;
  });
  return `${all.join(" and ")}${forMs > 0 ? ` for ${durationText(forMs)}` : ""}`;
}

/** `{status=queued}`: a limit is on these series alone. */
function whereText(where: Readonly<Record<string, string>>): string {
  const labels = Object.entries(where).map(([name, value]) => `${name}=${value}`);
  return labels.length === 0 ? "" : `{${labels.join(",")}}`;
}
