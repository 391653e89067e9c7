/**
 * The machine's health server (CONTRACTS C3). It is opened before anything else is known of the machine,
 * so that whoever asks is answered from the first moment; what it answers from is attached later.
 * Invariants:
 * H1  nobody but this machine is answered without a token: an address that others can reach is not
 *     opened without one, and on loopback a web page cannot ask (see `access-rules.ts`);
 * H2  it answers from memory, the logs and a token file excepted, and never changes anything;
 * H3  everything that a client can take is bounded.
 */
import { setMaxListeners } from "node:events";
import type { AgentLog } from "@holdfast/agent";
import { createIdSource, type Clock, type Random, type Service } from "@holdfast/runtime";
import { isLoopbackName } from "@holdfast/runtime/host";
import type { FastifyInstance, FastifyRequest } from "fastify";
import type { ServiceRegistry } from "../services/service-registry.ts";
import { createTokenJudge } from "./bearer-token.ts";
import { createHealthMetrics } from "./health-metrics.ts";
import { createHttpApp, type HttpLimits } from "./http-app.ts";
import { checkOpening, listenSomewhere, type HealthAddress, type Listening } from "./listen.ts";
import { addLogRoutes, type LogLimits } from "./log-routes.ts";
import { emptyMachineView, type MachineView } from "./machine-view.ts";
import type { MachineFacts } from "./model.ts";
import { addRoutes, reportOf } from "./routes.ts";

/** How to make the server. */
export interface HealthServerOptions {
  readonly address: HealthAddress;
  /** Version of this program. */
  readonly version: string;
  readonly machineName: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: AgentLog;
  /** Told where it listens, to print it. */
  readonly onListening?: (listening: Listening) => void;
  readonly limits?: Partial<HttpLimits & LogLimits>;
}

/** The server. `start` throws `HealthServerRefusal`, in words, when it cannot be opened as asked. */
export interface HealthServer extends Service {
  /** From now on answers tell of these. What is left out stays as it was. */
  attach(parts: { readonly services?: ServiceRegistry; readonly facts?: () => MachineFacts }): void;
  /** Where it listens; undefined while it does not. */
  listening(): Listening | undefined;
}

/** Followers of logs get this long to end; their disk may hang. */
const STREAMS_END_MS = 2_000;

/** Makes the server. Does not listen before `start`. */
export function createHealthServer(options: HealthServerOptions): HealthServer {
  const { address, clock, log } = options;
  const startedAt = clock.now();
  const startedElapsed = clock.elapsed();
  const closing = new AbortController();
  // Every follower listens to it, and stops when it ends; their number is bounded.
  setMaxListeners(0, closing.signal);
  let view: MachineView = emptyMachineView(options.machineName, startedAt);
  let unsubscribe: (() => void) | undefined;
  let listening: Listening | undefined;
  const metrics = createHealthMetrics(() => view);
  const streams = new WeakSet<FastifyRequest>();
  const { app, brief } = createHttpApp({
    log,
    ids: createIdSource(clock, options.random),
    isLoopbackBind: isLoopbackName(address.host),
    tokens: createTokenJudge(address.tokenFile, { clock, log }),
    closing: closing.signal,
    streams,
    onAnswer: (answer) => metrics.onAnswer(answer),
    ...(options.limits === undefined ? {} : { limits: options.limits }),
  });
  addRoutes(app, {
    view: () => view,
    program: () => ({
      version: options.version,
      startedAt,
      uptimeMs: clock.elapsed() - startedElapsed,
    }),
    metrics,
    brief,
  });
  const followers = addLogRoutes(app, {
    logFilesOf: (name) => view.services.logFiles(reportOf(view, name).name) ?? [],
    clock,
    log,
    closing: closing.signal,
    streams,
    ...(options.limits === undefined ? {} : { limits: options.limits }),
  });

  return {
    name: "health server",
    listening: () => listening,
    attach({ services, facts }) {
      if (services !== undefined) {
        unsubscribe?.();
        unsubscribe = services.subscribe((change) => metrics.onChange(change));
      }
      view = { services: services ?? view.services, facts: facts ?? view.facts };
    },
    async start() {
      if (listening !== undefined) return;
      const { warning } = await checkOpening(address);
      if (warning !== null) log.warn({ warning }, "health token file should be looked at");
      listening = await listenSomewhere(address, (host, port) => open(app, host, port));
      log.info({ ...listening }, "health server listening");
      options.onListening?.(listening);
    },
    async stop() {
      unsubscribe?.();
      if (closing.signal.aborted) return;
      closing.abort(new Error("the agent is stopping"));
      await within(clock, STREAMS_END_MS, followers.ended());
      listening = undefined;
      await app.close();
    },
  };
}

/** Waits for something, but not for ever. */
async function within(clock: Clock, limitMs: number, wanted: Promise<void>): Promise<void> {
  const done = new AbortController();
  const limit = clock.sleep(limitMs, done.signal).catch(() => undefined);
  await Promise.race([wanted, limit]);
  done.abort();
  await limit;
}

async function open(app: FastifyInstance, host: string, port: number): Promise<number> {
  await app.listen({ host, port });
  const bound = app.server.address();
  return typeof bound === "object" && bound !== null ? bound.port : port;
}
