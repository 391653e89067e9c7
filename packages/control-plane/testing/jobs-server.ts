/** A server with the routes of jobs alone, on a test database; callers are named by `x-caller`. */
import { HoldfastError, type JobView } from "@holdfast/contract";
import { createIdSource, seededRandom, startInOrder, stopInOrder } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import type { Caller } from "../src/access/model.ts";
import { createEventFeed } from "../src/jobs/event-feed.ts";
import { createJobWatch } from "../src/jobs/job-watch.ts";
import { addJobRoutes } from "../src/jobs/routes.ts";
import type { Db } from "../src/platform/db.ts";
import { buildHttpServer } from "../src/platform/http/server.ts";
import { SILENT_LOG } from "../src/platform/log.ts";
import { ANN, createJobsKit, ROOT } from "./jobs-kit.ts";

/** `bob` may use one node class only. */
const CALLERS: Readonly<Record<string, Caller>> = {
  ann: ANN,
  bob: { id: "key_bob", role: "user", allowedClasses: ["SaveImage"] },
  root: ROOT,
};

/** An answer of the server. */
export interface Answer {
  readonly status: number;
  readonly body: {
    readonly error?: { readonly code: string; readonly message: string; readonly details?: object };
    readonly [key: string]: unknown;
  };
  readonly headers: Readonly<Record<string, unknown>>;
}

/** A running server. */
export interface JobsServer {
  readonly port: number;
  readonly call: (
    method: "GET" | "POST",
    url: string,
    payload?: unknown,
    headers?: Readonly<Record<string, string>>,
  ) => Promise<Answer>;
  /** Submits {@link PLAIN_GRAPH}. */
  readonly submit: (more?: object, headers?: Readonly<Record<string, string>>) => Promise<JobView>;
  /** Ends a job as the scheduler would, with its event. */
  readonly complete: (job: JobView) => Promise<void>;
  close(): Promise<void>;
}

/** A graph that needs no model. */
export const PLAIN_GRAPH = {
  "1": { class_type: "EmptyImage", inputs: { width: 64, height: 64, batch_size: 1, color: 0 } },
  "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "a" } },
};

/** Starts a server on a free port of loopback. */
export async function startJobsServer(db: Db): Promise<JobsServer> {
  const random = seededRandom(3);
  const clock = systemClock;
  const ids = createIdSource(clock, random);
  const server = buildHttpServer({ log: SILENT_LOG, clock, ids, bodyLimitBytes: 4 * 1024 * 1024 });
  const jobs = createJobsKit(() => db).makeJobs({
    maxQueuedJobs: 5_000,
    retention: { endedHours: 720, failedHours: 2_160 },
    ports: {
      validateStrictly: () => Promise.resolve({ kind: "no_machine" }),
      checkWebhookUrl: (url) =>
        url.startsWith("http://10.")
          ? Promise.reject(new HoldfastError("url_forbidden", "the URL is private"))
          : Promise.resolve(),
    },
  });
  const loop = { db, clock, random, log: SILENT_LOG };
  const feed = createEventFeed({ ...loop, pollEveryMs: 20 });
  const watch = createJobWatch({ ...loop, feed });
  await startInOrder([feed, watch]);
  addJobRoutes(server.app, {
    identify: (request) => {
      const caller = CALLERS[String(request.headers["x-caller"] ?? "ann")];
      return caller === undefined
        ? Promise.reject(new HoldfastError("unauthorized", "no such key"))
        : Promise.resolve(caller);
    },
    jobs,
    watch,
    feed,
    clock,
    closing: server.closing,
  });
  const call: JobsServer["call"] = async (method, url, payload, headers = {}) => {
    const response = await server.app.inject({
      method,
      url,
      headers: {
        ...(payload !== undefined && { "content-type": "application/json" }),
        ...headers,
      },
      ...(payload !== undefined && {
        payload: typeof payload === "string" ? payload : JSON.stringify(payload),
      }),
    });
    return {
      status: response.statusCode,
      body: response.json<Answer["body"]>(),
      headers: response.headers,
    };
  };
  return {
    port: await server.listen({ host: "127.0.0.1", port: 0 }),
    call,
    async submit(more = {}, headers = {}) {
      const { status, body } = await call(
        "POST",
        "/api/v1/jobs",
        { graph: PLAIN_GRAPH, ...more },
        headers,
      );
      if (status !== 201) throw new Error(`submit was answered ${status}: ${body.error?.code}`);
      return body["job"] as JobView;
    },
    async complete(job) {
      await db.query(
        `with j as (update jobs set state = 'completed', ended_at = now() where id = $1 returning *)
     insert into events (id, type, version, owner, job_id, payload)
     select 'evt_' || substr(id, 5), 'job.completed', 1, owner, id, jsonb_build_object(
       'jobId', id, 'number', number, 'batchId', batch_id, 'outputCount', 0, 'attempts', 1)
     from j`,
        [job.id],
      );
    },
    async close() {
      await server.close();
      await stopInOrder([feed, watch]);
    },
  };
}
