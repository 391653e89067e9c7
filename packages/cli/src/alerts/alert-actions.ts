import type {
  AlertDeliveryView,
  AlertRuleView,
  AlertView,
  MadeSilenceView,
  SilenceView,
} from "@holdfast/contract";
import type { Clock } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import type { ApiClient } from "../api/api-client.ts";
import { toList } from "../api/job-calls.ts";
import { listAll } from "../api/list-all.ts";
import type { CommandContext } from "../command-context.ts";
import { apiClientFor } from "../commands/client-options.ts";
import { EXIT } from "../exit-codes.ts";
import { plainText, textTable, type Column } from "../terminal/text-table.ts";
import { alertColumns, alertPage, RULE_COLUMNS } from "./alert-text.ts";
import type { AlertListOptions, AlertOptions, SilenceOptions } from "./options.ts";

const BASE = "/api/v1/alerts";
const DEFAULT_LIST = 50;
const MS_PER_SECOND = 1_000;

/** `holdfast alerts list`. */
export async function list(options: AlertListOptions, context: CommandContext): Promise<void> {
  const limit = options.limit ?? DEFAULT_LIST;
  const query = new URLSearchParams();
  if (options.all !== true) query.set("state", "live");
  if (options.severity !== undefined) query.set("severity", options.severity);
  if (options.rule !== undefined) query.set("rule", options.rule);
  const api = apiClientFor(options, context);
  const found = await listAll(api, BASE, query, limit, (item) => item as AlertView);
  const now = systemClock.now();
  const empty = options.all === true ? "no alerts" : "no alerts now";
  showTable(found.items, alertColumns(now), empty, options, context);
  if (options.json === true) return;
  if (found.items.length > 0) context.terminal.note("what to do: holdfast alerts show ID");
  if (found.hasMore) {
    context.terminal.note(`there are more: --limit ${limit * 2}`);
  }
}

/** Deliveries that are looked through for an alert, the newest ones. */
const DELIVERIES_MAX = 2_000;
/** Deliveries of one alert that are shown. */
const DELIVERIES_SHOWN = 20;

/** `holdfast alerts show`. */
export async function show(
  id: string,
  options: AlertOptions,
  context: CommandContext,
): Promise<void> {
  const { terminal } = context;
  const api = apiClientFor(options, context);
  const alert = (await api.json(`${BASE}/${encodeURIComponent(id)}`)) as AlertView;
  const path = `${BASE}/deliveries`;
  const all = await listAll(
    api,
    path,
    new URLSearchParams(),
    DELIVERIES_MAX,
    (item) => item as AlertDeliveryView,
  );
  const deliveries = all.items.filter(({ alerts }) => alerts.some((told) => told.id === id));
  if (options.json === true) return terminal.line(JSON.stringify({ ...alert, deliveries }));
  const look = { now: systemClock.now(), columns: terminal.resultColumns };
  for (const line of alertPage(alert, deliveries.slice(0, DELIVERIES_SHOWN), look)) {
    terminal.line(line);
  }
}

/** `holdfast alerts rules`. */
export async function rules(options: AlertOptions, context: CommandContext): Promise<void> {
  const answer = await apiClientFor(options, context).json(`${BASE}/rules`);
  const found = toList(answer, "rules") as readonly AlertRuleView[];
  showTable(found, RULE_COLUMNS, "no rules", options, context);
}

/** `holdfast alerts silence`. */
export async function silence(
  matchers: readonly string[],
  options: SilenceOptions,
  context: CommandContext,
): Promise<void> {
  const forSeconds = Math.max(1, Math.round(options.for / MS_PER_SECOND));
  const made = (await apiClientFor(options, context).json(`${BASE}/silences`, {
    method: "POST",
    json: { matchers, forSeconds, reason: options.reason },
  })) as MadeSilenceView;
  const words = `${made.id}  silenced until ${made.endsAt}: ${made.matchers.join(" ")} (${fitsText(made.fitsNow)})`;
  context.terminal.line(options.json === true ? JSON.stringify(made) : plainText(words));
}

/** A server of before does not tell it. */
function fitsText(fitsNow: number | undefined): string {
  if (fitsNow === undefined) return "how many alerts it fits is not told";
  if (fitsNow === 0) return "fits no alert now";
  return `fits ${fitsNow} alert${fitsNow === 1 ? "" : "s"} now`;
}

/** `holdfast alerts silences`. */
export async function silences(options: AlertOptions, context: CommandContext): Promise<void> {
  const api = apiClientFor(options, context);
  const found = await listAll(
    api,
    `${BASE}/silences`,
    new URLSearchParams(),
    DEFAULT_LIST,
    (item) => item as SilenceView,
  );
  showTable(found.items, SILENCE_COLUMNS, "no silences", options, context);
}

const SILENCE_COLUMNS: readonly Column<SilenceView>[] = [
  { head: "ID", cell: ({ id }) => id },
  { head: "STATE", cell: ({ active }) => (active ? "active" : "ended") },
  { head: "UNTIL", cell: ({ endsAt }) => endsAt },
  { head: "BY", cell: ({ createdBy }) => createdBy },
  { head: "MATCHERS", cell: ({ matchers }) => matchers.join(" ") },
  { head: "REASON", cell: ({ reason }) => reason },
];

/** `holdfast alerts unsilence`. */
export async function unsilence(
  ids: readonly string[],
  options: AlertOptions,
  context: CommandContext,
): Promise<void> {
  const api = apiClientFor(options, context);
  for (const id of ids) {
    const path = `${BASE}/silences/${encodeURIComponent(id)}`;
    const ended = (await api.json(path, { method: "DELETE" })) as SilenceView;
    context.terminal.line(options.json === true ? JSON.stringify(ended) : `${ended.id}  ended`);
  }
}

/** `holdfast alerts ack`. */
export async function ack(
  ids: readonly string[],
  options: AlertOptions,
  context: CommandContext,
): Promise<void> {
  const api = apiClientFor(options, context);
  const body = options.note === undefined ? {} : { note: options.note };
  for (const id of ids) {
    const path = `${BASE}/${encodeURIComponent(id)}/acknowledge`;
    const alert = (await api.json(path, { method: "POST", json: body })) as AlertView;
    const words = `${alert.id}  acknowledged: ${alert.summary}`;
    context.terminal.line(options.json === true ? JSON.stringify(alert) : plainText(words));
  }
}

/** How long `test` waits for an outcome, and how often it looks. */
const TEST_WAIT_MS = 30_000;
const TEST_LOOK_MS = 300;

/** `holdfast alerts test`: exits 1 when a channel did not take it. */
export async function test(
  channel: string | undefined,
  options: AlertOptions,
  context: CommandContext,
  clock: Clock = systemClock,
): Promise<void> {
  const { terminal } = context;
  const api = apiClientFor(options, context);
  const json = channel === undefined ? {} : { channel };
  const answer = await api.json(`${BASE}/test`, { method: "POST", json });
  for (const made of toList(answer, "deliveries") as readonly AlertDeliveryView[]) {
    const delivery = await outcomeOf(api, made, clock);
    if (delivery.state !== "delivered") process.exitCode = EXIT.failed;
    terminal.line(
      options.json === true ? JSON.stringify(delivery) : plainText(outcomeText(delivery)),
    );
  }
}

/** The delivery once it was tried, which it is once, or as it is after long. */
async function outcomeOf(
  api: ApiClient,
  made: AlertDeliveryView,
  clock: Clock,
): Promise<AlertDeliveryView> {
  const path = `${BASE}/deliveries/${encodeURIComponent(made.id)}`;
  const startedAt = clock.elapsed();
  for (;;) {
    const delivery = (await api.json(path)) as AlertDeliveryView;
    if (delivery.state !== "pending" || clock.elapsed() - startedAt > TEST_WAIT_MS) return delivery;
    await clock.sleep(TEST_LOOK_MS);
  }
}

function outcomeText({ channel, state, lastError }: AlertDeliveryView): string {
  if (state === "delivered") return `${channel}: delivered`;
  return `${channel}: not delivered: ${lastError ?? "no outcome yet"}`;
}

function showTable<T>(
  rows: readonly T[],
  columns: readonly Column<T>[],
  empty: string,
  options: AlertOptions,
  { terminal }: CommandContext,
): void {
  if (options.json === true) {
    for (const row of rows) terminal.line(JSON.stringify(row));
  } else if (rows.length === 0) terminal.note(empty);
  else for (const line of textTable(rows, columns, terminal.resultColumns)) terminal.line(line);
}
