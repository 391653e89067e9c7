/** Webhooks with a target that answers as a test says, on a database of their own, for tests. */
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";
import { createIdSource, seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { createFakeClock } from "@holdfast/runtime/testing";
import {
  createTestDatabase,
  emptyTables,
  type TestDatabase,
} from "../../../test/support/test-database.ts";
import { createGuardedFetch } from "../src/access/guarded-fetch.ts";
import { parseUrlRules } from "../src/access/url-rules.ts";
import { buildHttpServer } from "../src/platform/http/server.ts";
import { SILENT_LOG } from "../src/platform/log.ts";
import { appendEvents, FIRST_CURSOR, readEventsAfter } from "../src/platform/outbox.ts";
import { createDeliverer } from "../src/webhooks/deliverer.ts";
import { fanOut } from "../src/webhooks/fan-out.ts";
import { webhookRoutes } from "../src/webhooks/routes.ts";
import { createWebhookService } from "../src/webhooks/service.ts";
import { insertQueuedJob } from "./queued-job.ts";
import { TEST_ACCESS } from "./test-access.ts";

/** A request as the target saw it. */
export interface Seen {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** What the target does with a request that it has read whole. */
export type Answer = (request: IncomingMessage, response: ServerResponse) => void;
/** 200. */
export const ok: Answer = (_request, response) => response.end();
/** Any other status. */
export const status =
  (code: number): Answer =>
  (_request, response) =>
    response.writeHead(code).end();
/** Reads the whole request, then cuts the connection: did it arrive? Nobody can tell. */
export const drop: Answer = (request) => request.socket.destroy();

const ids = createIdSource(systemClock, seededRandom(5));
const never = new AbortController().signal;

/** See {@link createWebhooksKit}. */
export type WebhooksKit = Awaited<ReturnType<typeof createWebhooksKit>>;
/** What one test works on. */
export type WebhooksBench = Awaited<ReturnType<WebhooksKit["open"]>>;

/** Opens a database; `open` empties it and makes target, service and server for one test. */
export async function createWebhooksKit() {
  const database = await createTestDatabase();
  return { open: () => openBench(database), close: () => database.drop() };
}

async function openBench({ db }: TestDatabase) {
  await emptyTables(db, [
    "webhook_endpoints",
    "webhook_deliveries",
    "events",
    "event_cursors",
    "jobs",
    "requirements",
    "graphs",
    "api_keys",
    "settings",
  ]);
  const clock = createFakeClock(systemClock.now());
  const seen: Seen[] = [];
  /** What a test changes and looks at. */
  const state = { answer: ok, dueCalls: 0 };
  const target = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      const body = Buffer.concat(parts).toString();
      seen.push({ path: request.url ?? "", headers: request.headers, body });
      state.answer(request, response);
    });
  });
  await new Promise<void>((resolve) => target.listen(0, "127.0.0.1", resolve));
  const base = `http://127.0.0.1:${(target.address() as AddressInfo).port}`;
  const fetcher = createGuardedFetch({ clock, rules: parseUrlRules("127.0.0.1") });
  const databaseNow = (): number => clock.now();
  const common = { db, ids, clock, fetch: fetcher, databaseNow };
  const webhooks = createWebhookService({ ...common, onDue: () => (state.dueCalls += 1) });
  const deliverer = createDeliverer({ ...common, random: seededRandom(2), log: SILENT_LOG });
  const server = buildHttpServer({
    log: SILENT_LOG,
    clock: systemClock,
    ids,
    bodyLimitBytes: 100_000,
  });
  await server.app.register(webhookRoutes, { access: TEST_ACCESS, webhooks });

  /** What the consumer of the outbox does, from the first event on: also a second time. */
  const spread = async (): Promise<void> => {
    const events = await readEventsAfter(db, FIRST_CURSOR, 100);
    await db.transaction((tx) => fanOut(tx, events, ids, clock.now()));
  };

  return Object.assign(state, {
    db,
    ids,
    clock,
    seen,
    target,
    base,
    fetcher,
    webhooks,
    deliverer,
    server,
    spread,
    /** Tries everything that is due, and waits for it. Returns how many tries there were. */
    async deliverDue(): Promise<number> {
      let total = 0;
      for (;;) {
        const started = await deliverer.startDue(never);
        await deliverer.idle();
        if (started === 0) return total;
        total += started;
      }
    },
    /** Writes an event to the outbox and spreads it. Returns its id. */
    async tell(
      type = "job.completed",
      options: { owner?: string; jobId?: string | null } = {},
    ): Promise<string> {
      const id = ids.next("evt");
      const { owner = "key_a", jobId = null } = options;
      await db.transaction((tx) =>
        appendEvents(tx, [{ id, type, version: 1, owner, jobId, payload: { jobId, number: 7 } }]),
      );
      await spread();
      return id;
    },
    endpoint: (owner = "key_a", eventTypes: string[] = [], path = "/hook") =>
      webhooks.create(owner, { url: base + path, eventTypes }),
    deliveries: async (owner: string | null = null) =>
      (await webhooks.listDeliveries({ owner }, { cursor: null, limit: 100 })).items,
    insertJob: (owner: string, webhook: unknown): Promise<string> =>
      insertQueuedJob(db, ids, { owner, webhook }),
    async close() {
      await server.close();
      await fetcher.close();
      target.closeAllConnections();
      if (target.listening) await new Promise((resolve) => target.close(resolve));
    },
  });
}
