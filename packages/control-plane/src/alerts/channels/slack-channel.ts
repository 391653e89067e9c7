import type { SlackChannel } from "@holdfast/alerts";
import type { GuardedFetch } from "../../access/guarded-fetch.ts";
import type { AlertChannel, Notification } from "../model.ts";
import { toMessage, type AlertLine } from "./message.ts";
import { postJson } from "./post.ts";
import { readSecretFile } from "./secret-file.ts";

/** Slack takes 3,000 characters a section and 50 blocks a message. */
const SECTION_MAX = 2_900;
const SIGNS: Readonly<Record<string, string>> = {
  CRITICAL: ":red_circle:",
  WARNING: ":large_orange_circle:",
  INFO: ":large_blue_circle:",
  RESOLVED: ":white_check_mark:",
};

/** An incoming webhook of Slack, or of what takes its messages. */
export function openSlackChannel(
  settings: SlackChannel,
  deps: { readonly fetcher: Pick<GuardedFetch, "fetch"> },
): AlertChannel {
  return {
    settings,
    // The address is a secret whole; which service it is says the type.
    target: "slack",
    async send(notification, signal) {
      const url = await readSecretFile(settings.urlFile);
      if (url.kind === "failed") return url;
      if (!/^https?:\/\//.test(url.text) || !URL.canParse(url.text)) {
        return {
          kind: "failed",
          reason: `${settings.urlFile} holds no http:// or https:// address`,
        };
      }
      const body = JSON.stringify(toSlackBody(notification));
      return await postJson(deps.fetcher, url.text, body, {}, signal);
    },
    close: async () => undefined,
  };
}

/** `text` is what notifications show, and all that simpler receivers take. */
function toSlackBody(notification: Notification) {
  const { title, lines, omitted } = toMessage(notification);
  const sections = lines.map((line) => section(lineText(line)));
  const rest = omitted === 0 ? [] : [section(`… and ${omitted} more`)];
  return { text: escape(title), blocks: [...sections, ...rest] };
}

function section(text: string) {
  return { type: "section", text: { type: "mrkdwn", text: text.slice(0, SECTION_MAX) } };
}

function lineText({ head, text, alert }: AlertLine): string {
  const labels = Object.entries(alert.labels).map(([name, value]) => `${name}=${value}`);
  const facts = escape([alert.rule, ...labels].join(" · "));
  const hasAdvice = alert.status === "firing" && alert.advice !== null;
  const advice = hasAdvice ? `\n${escape(alert.advice ?? "")}` : "";
  return `${SIGNS[head] ?? ""} *${head}* ${escape(text)}${advice}\n_${facts}_`;
}

/** What Slack reads as its own, links and mentions of everybody among it, stands there as text. */
function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
