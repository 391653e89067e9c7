/** Settings of alerts: files whose contents are read with the settings. */
import {
  parseAlertChannels,
  parseAlertRules,
  problemTexts,
  type ChannelSettings,
  type Parsed,
  type RuleEntry,
} from "@holdfast/alerts";
import { jsonFileSetting } from "./config.ts";

/** What a parser of `@holdfast/alerts` found, as settings are told it. */
function told<T>(parsed: Parsed<T>) {
  if (parsed.kind === "ok") return { kind: "ok" as const, value: parsed.value };
  return { kind: "invalid" as const, problems: problemTexts(parsed.problems) };
}

const NO_RULES: readonly RuleEntry[] = [];
const NO_CHANNELS: readonly ChannelSettings[] = [];

/** The settings, under the names that the code uses. */
export const alerting = {
  alertRules: jsonFileSetting(
    {
      env: "HOLDFAST_ALERT_RULES",
      meaning:
        "A list of alert rules, as `PUT /api/v1/alerts/rules/NAME` takes them; one of a built-in rule's name stands in its place.",
    },
    (value) => told(parseAlertRules(value)),
    NO_RULES,
  ),
  alertChannels: jsonFileSetting(
    {
      env: "HOLDFAST_ALERT_CHANNELS",
      meaning:
        "A list of channels that alerts are delivered to: webhook, slack, alertmanager, email. Secrets are named by their files.",
    },
    (value) => told(parseAlertChannels(value)),
    NO_CHANNELS,
  ),
};
