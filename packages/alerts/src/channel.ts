/** Where alerts are delivered to, as operators write it. Secrets are named by the files that hold them. */
import {
  asFields,
  listIn,
  parseList,
  readObject,
  type Parsed,
  type Reader,
  type ReadingProblem,
} from "./reading.ts";
import { SEVERITIES, type Severity } from "./rule.ts";

interface ChannelBase {
  /** Unique. */
  readonly name: string;
  /** What is less bad is not told there. */
  readonly minSeverity: Severity;
  /** How often is reminded of what still fires. */
  readonly repeatMs: number;
}

/** Signed as all webhooks are. */
export interface WebhookChannel extends ChannelBase {
  readonly type: "webhook";
  readonly url: string;
  /** Holds a `whsec_…`. */
  readonly secretFile: string;
}

/** An incoming webhook of Slack, or of what takes its messages (Mattermost, Rocket.Chat, …). */
export interface SlackChannel extends ChannelBase {
  readonly type: "slack";
  /** Holds the URL, which is a secret itself. */
  readonly urlFile: string;
}

/** Prometheus's Alertmanager, by its API v2. */
export interface AlertmanagerChannel extends ChannelBase {
  readonly type: "alertmanager";
  /** Without `/api/v2/alerts`. */
  readonly url: string;
  /** Holds a bearer token; null sends none. */
  readonly tokenFile: string | null;
}

/** Mail by SMTP. */
export interface EmailChannel extends ChannelBase {
  readonly type: "email";
  readonly host: string;
  readonly port: number;
  /** `starttls` insists on it; `none` sends everything in the clear. */
  readonly tls: "starttls" | "tls" | "none";
  readonly user: string | null;
  readonly passwordFile: string | null;
  readonly from: string;
  readonly to: readonly string[];
}

/** A place to which alerts are delivered. */
export type ChannelSettings = WebhookChannel | SlackChannel | AlertmanagerChannel | EmailChannel;

/** Kinds of channel. */
export const CHANNEL_TYPES = ["webhook", "slack", "alertmanager", "email"] as const;

/** Most channels, and most recipients of one. */
export const CHANNELS_MAX = 20;
const RECIPIENTS_MAX = 50;
const REPEAT_MS = 4 * 60 * 60 * 1_000;
const REPEAT_MS_MIN = 60_000;
const REPEAT_MS_MAX = 7 * 24 * 60 * 60 * 1_000;
/** An Alertmanager ends an alert of which it is not told again: well within its `resolve_timeout`. */
const REFRESH_MS = 60_000;
const PORTS = { starttls: 587, tls: 465, none: 25 } as const;

const COMMON = ["name", "type", "minSeverity"] as const;
const FIELDS = {
  webhook: [...COMMON, "repeatMs", "url", "secretFile"],
  slack: [...COMMON, "repeatMs", "urlFile"],
  alertmanager: [...COMMON, "url", "tokenFile"],
  email: [...COMMON, "repeatMs", "host", "port", "tls", "user", "passwordFile", "from", "to"],
} as const;

const NAME = {
  pattern: /^[a-z0-9][a-z0-9_-]{0,39}$/,
  what: "a name of at most 40 small letters, digits, _ and -",
};
const HTTP_URL = {
  // User and password would be shown wherever the address is.
  pattern: /^https?:\/\/[^\s/@?#]+(?:\/[^\s@]*)?$/,
  what: "an http:// or https:// address without user and password",
};
const FILE = { pattern: /^[^\0]+$/, what: "the path of a file" };
const ADDRESS = {
  pattern: /^(?:[^<>\r\n]*<)?[^\s<>@,;]+@[^\s<>@,;]+>?$/,
  what: "a mail address, such as Holdfast <holdfast@example.org>",
};

/** Reads a list of channels: `[…]`, or an object that holds it as `channels`. Never throws. */
export function parseAlertChannels(value: unknown): Parsed<readonly ChannelSettings[]> {
  const parsed = parseList(listIn(value, "channels"), "channels", CHANNELS_MAX, readChannel);
  if (parsed.kind === "invalid") return parsed;
  const names = parsed.value.map(({ name }) => name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice === undefined) return parsed;
  const message = `the name ${twice} is used twice; give one of the channels another`;
  return { kind: "invalid", problems: [{ path: "name", message }] };
}

function readChannel(value: unknown, path: string, problems: ReadingProblem[]): ChannelSettings {
  const given = asFields(value)?.["type"];
  const type = CHANNEL_TYPES.find((one) => one === given);
  const fields = type === undefined ? Object.keys(asFields(value) ?? {}) : FIELDS[type];
  const read = readObject(value, path, fields, problems);
  const base = {
    name: read.text("name", NAME),
    minSeverity: read.choice("minSeverity", SEVERITIES, "warning"),
    repeatMs: read.number("repeatMs", {
      min: REPEAT_MS_MIN,
      max: REPEAT_MS_MAX,
      isWhole: true,
      byDefault: REPEAT_MS,
    }),
  };
  // Says what is wrong with a type that there is not; the rest of such a channel is not looked at.
  switch (type ?? (read.choice("type", CHANNEL_TYPES), null)) {
    case "slack":
      return { ...base, type: "slack", urlFile: read.text("urlFile", FILE) };
    case "alertmanager":
      return {
        ...base,
        repeatMs: REFRESH_MS,
        type: "alertmanager",
        url: read.text("url", HTTP_URL).replace(/\/+$/, ""),
        tokenFile: read.has("tokenFile") ? read.text("tokenFile", FILE) : null,
      };
    case "email":
      return { ...base, ...readEmail(read, problems) };
    case "webhook":
      return {
        ...base,
        type: "webhook",
        url: read.text("url", HTTP_URL),
        secretFile: read.text("secretFile", FILE),
      };
    default:
      return { ...base, type: "webhook", url: "", secretFile: "" };
  }
}

function readEmail(
  read: Reader,
  problems: ReadingProblem[],
): Omit<EmailChannel, keyof ChannelBase> {
  const tls = read.choice("tls", ["starttls", "tls", "none"], "starttls");
  const to = read.list("to", RECIPIENTS_MAX).map(({ value, path }) => {
    if (typeof value === "string" && ADDRESS.pattern.test(value)) return value;
    problems.push({ path, message: `expected ${ADDRESS.what}` });
    return "";
  });
  if (to.length === 0) read.problem("to", "expected a list of one mail address or more");
  const user = read.has("user") ? read.text("user") : null;
  const passwordFile = read.has("passwordFile") ? read.text("passwordFile", FILE) : null;
  if ((user === null) !== (passwordFile === null)) {
    read.problem("passwordFile", "expected user and passwordFile together, or neither");
  }
  return {
    type: "email",
    host: read.text("host", { pattern: /^[^\s/@]+$/, what: "the name of a mail server" }),
    port: read.number("port", { min: 1, max: 65_535, isWhole: true, byDefault: PORTS[tls] }),
    tls,
    user,
    passwordFile,
    from: read.text("from", ADDRESS),
    to,
  };
}
