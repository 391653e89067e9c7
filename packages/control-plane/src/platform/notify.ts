import { backoffMs, type Clock, type Random, type Service } from "@holdfast/runtime";
import { Client } from "pg";
import { clientConfig, type PgTarget } from "./db.ts";
import type { Log } from "./log.ts";

/** What a listener and a notifier need to keep a connection of their own. */
export interface NotifyOptions {
  readonly target: PgTarget;
  /** Names this process, differently from every other: a notifier counts the others that listen. */
  readonly processName: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Called for a notification. `payload` is undefined after a reconnect: something may have been missed. */
export type NotificationHandler = (payload: string | undefined) => void;

/** Listens to channels on a connection of its own. A wake-up call, never the truth: poll as well. */
export interface Listener extends Service {
  /** Adds a handler, at any time. Returns a function that removes it. */
  on(channel: string, handler: NotificationHandler): () => void;
}

/** Begins the name that a listener's connection bears in `pg_stat_activity`. */
const LISTENER_PREFIX = "holdfast-listener-";
const RECONNECT_BACKOFF = { initialMs: 100, factor: 2, maxMs: 10_000, jitter: 0.3 };
const CHANNEL = /^[a-z_][a-z0-9_]{0,62}$/;

/** Makes a listener. `start` does not wait for the connection: it comes, and comes back, by itself. */
export function createListener(options: NotifyOptions): Listener {
  const { clock, log } = options;
  const handlers = new Map<string, Set<NotificationHandler>>();
  let stopping = new AbortController();
  let running: Promise<void> | undefined;
  let current: Client | undefined;

  const serve = async (signal: AbortSignal): Promise<void> => {
    const client = new Client(clientConfig(options.target, LISTENER_PREFIX + options.processName));
    const ended = new Promise<void>((resolve) => {
      client.once("end", () => resolve());
      client.on("error", () => resolve());
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
    client.on("notification", ({ channel, payload }) => {
      for (const handler of handlers.get(channel) ?? []) handler(payload);
    });
    try {
      await client.connect();
      for (const channel of handlers.keys()) await listenOn(client, channel);
      current = client;
      // Whatever was notified while nobody listened is lost: everybody looks once.
      for (const all of handlers.values()) for (const handler of all) handler(undefined);
      await ended;
    } finally {
      current = undefined;
      await client.end().catch(() => undefined);
    }
  };

  const run = async (signal: AbortSignal): Promise<void> => {
    for (let attempt = 1; !signal.aborted; attempt += 1) {
      const since = clock.elapsed();
      try {
        await serve(signal);
      } catch (err) {
        if (!signal.aborted) log.debug({ err, attempt }, "listening connection failed");
      }
      if (signal.aborted) return;
      if (clock.elapsed() - since > RECONNECT_BACKOFF.maxMs) attempt = 1;
      const delayMs = backoffMs(RECONNECT_BACKOFF, attempt, options.random);
      await clock.sleep(delayMs, signal).catch(() => undefined);
    }
  };

  return {
    name: "listener",
    async start() {
      stopping = new AbortController();
      running ??= run(stopping.signal);
    },
    async stop() {
      stopping.abort(new Error("stopping"));
      await running;
      running = undefined;
    },
    on(channel, handler) {
      if (!CHANNEL.test(channel)) throw new Error(`not a channel name: ${channel}`);
      const known = handlers.get(channel);
      const all = known ?? new Set();
      handlers.set(channel, all.add(handler));
      if (known === undefined && current !== undefined) {
        // A failure ends the connection, and the next one listens to every channel anew.
        void listenOn(current, channel).catch(() => undefined);
      }
      return () => void all.delete(handler);
    },
  };
}

async function listenOn(client: Client, channel: string): Promise<void> {
  await client.query(`listen ${channel}`);
}

/**
 * Sends wake-up calls to the other processes, gathered so that they never slow a hot transaction
 * down. While nobody but this process listens nothing is sent: it knows what it has written, and a
 * process that has just begun to listen looks at everything once.
 */
export interface Notifier extends Service {
  /** Returns at once. Calls within the gathering time become one statement; a lost one is not repeated. */
  notify(channel: string, payload?: string): void;
}

/** How long notifications are gathered (a notify inside every commit serialises all commits). */
export const NOTIFY_EVERY_MS = 20;
/** More different payloads than this on a channel become one empty one: "look at everything". */
export const MAX_PAYLOADS = 64;

/** How long "nobody else listens" is believed. */
const ALONE_FOR_MS = 2_000;

/** Makes a notifier on a connection of its own, opened at the first use. */
export function createNotifier(options: NotifyOptions): Notifier {
  const { clock, log } = options;
  const pending = new Map<string, Set<string>>();
  let client: Client | undefined;
  let sending: Promise<void> | undefined;
  let isStopped = false;
  let aloneUntil = -Infinity;

  /** Whether no other process listens. */
  const isAlone = async (on: Client): Promise<boolean> => {
    const { rows } = await on.query<{ others: boolean }>(
      `select exists (select from pg_stat_activity
         where starts_with(application_name, $1::text) and application_name <> $1::text || $2::text) as others`,
      [LISTENER_PREFIX, options.processName],
    );
    if (rows[0]?.others !== false) return false;
    aloneUntil = clock.elapsed() + ALONE_FOR_MS;
    return true;
  };

  const connected = async (): Promise<Client> => {
    if (client !== undefined) return client;
    const fresh = new Client(clientConfig(options.target, "holdfast-notifier"));
    const forget = (): void => {
      if (client === fresh) client = undefined;
    };
    fresh.on("error", forget);
    fresh.once("end", forget);
    await fresh.connect();
    client = fresh;
    return fresh;
  };

  const flush = async (): Promise<void> => {
    const channels: string[] = [];
    const payloads: string[] = [];
    for (const [channel, waiting] of pending) {
      for (const payload of waiting.size > MAX_PAYLOADS ? [""] : waiting) {
        channels.push(channel);
        payloads.push(payload);
      }
    }
    pending.clear();
    try {
      const on = await connected();
      if (await isAlone(on)) return;
      await on.query("select pg_notify(c, p) from unnest($1::text[], $2::text[]) as t (c, p)", [
        channels,
        payloads,
      ]);
    } catch (err) {
      // Listeners poll as well, so a wake-up call that is lost costs a poll interval, nothing else.
      log.debug({ err }, "notification not sent");
      const broken = client;
      client = undefined;
      await broken?.end().catch(() => undefined);
    }
  };

  const sendAll = async (): Promise<void> => {
    while (pending.size > 0) {
      await flush();
      if (!isStopped) await clock.sleep(NOTIFY_EVERY_MS);
    }
    sending = undefined;
  };

  return {
    name: "notifier",
    start: () => {
      isStopped = false;
      return Promise.resolve();
    },
    async stop() {
      isStopped = true;
      await sending;
      await client?.end().catch(() => undefined);
      client = undefined;
    },
    notify(channel, payload = "") {
      if (isStopped || clock.elapsed() < aloneUntil) return;
      const waiting = pending.get(channel) ?? new Set();
      pending.set(channel, waiting.add(payload));
      // The first of a quiet time goes out at once; those that follow it are gathered.
      sending ??= Promise.resolve().then(sendAll);
    },
  };
}
