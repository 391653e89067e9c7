import {
  EVENT_TYPES,
  HoldfastError,
  instantSchema,
  pageQuerySchema,
  pageSchema,
} from "@holdfast/contract";
import type { FastifyReply } from "fastify";
import { z } from "zod";
import { ALLOWED, ownerScope } from "../access/model.ts";
import type { HttpApp } from "../platform/http/server.ts";
import { textAnswer } from "../platform/http/openapi.ts";
import { lastEventId, sendEventStream, type StreamEvent } from "../platform/http/sse.ts";
import type { StoredEvent } from "../platform/outbox.ts";
import { jobParamsSchema, readLimit, type JobRoutesDeps } from "./requests.ts";
import { toEventView } from "./view.ts";

const eventViewSchema = z.object({
  id: z.string(),
  at: instantSchema,
  version: z.int(),
  type: z.string(),
  data: z.record(z.string(), z.unknown()),
});

const followedId = z.string().max(128).optional().meta({
  description: "Go on after this event, like the header `Last-Event-ID`.",
});
const followQuerySchema = z.strictObject({
  types: z
    .string()
    .max(1000)
    .optional()
    .meta({ description: `Types of events, separated by commas: ${EVENT_TYPES.join(", ")}.` }),
  batchId: z.string().max(64).optional(),
  lastEventId: followedId,
});
const timelineQuerySchema = pageQuerySchema.extend({ lastEventId: followedId });

const STREAM = textAnswer("text/event-stream", "Server-sent events; `data` is an event as JSON.");

const EVENT_ID = /^evt_[0-9a-z]{26}$/;
/** A stream shows that it lives this often. */
const HEARTBEAT_MS = 15_000;

/** A job's timeline as a page or as a stream, and the stream of everything a caller may see. */
export function addEventRoutes(app: HttpApp, deps: JobRoutesDeps): void {
  const { identify, jobs, watch, feed } = deps;
  app.get(
    "/api/v1/jobs/:id/events",
    {
      schema: {
        tags: ["jobs"],
        summary: "A job's events; with Accept: text/event-stream a stream until the job has ended",
        params: jobParamsSchema,
        querystring: timelineQuerySchema,
        response: {
          200: {
            description: "A page of events; or the stream.",
            content: {
              "application/json": { schema: pageSchema(eventViewSchema) },
              ...STREAM.content,
            },
          },
        },
      },
    },
    async (request, reply) => {
      const caller = await identify(request, ALLOWED.use);
      const { params, query } = request;
      if (request.headers.accept?.includes("text/event-stream") !== true) {
        const after = query.cursor;
        if (after !== undefined && !EVENT_ID.test(after)) {
          throw new HoldfastError("invalid_cursor", "the cursor is not `next` of a page before");
        }
        return await jobs.timeline(caller, params.id, { after, limit: readLimit(query.limit) });
      }
      const { job } = await jobs.find(caller, params.id);
      const from = lastEventId(request);
      return await stream(reply, deps, (signal) => watch.follow(job.id, from, signal));
    },
  );
  app.get(
    "/api/v1/events",
    {
      schema: {
        tags: ["events"],
        summary: "Live stream (server-sent events) of everything the caller may see",
        querystring: followQuerySchema,
        response: { 200: STREAM },
      },
    },
    async (request, reply) => {
      const caller = await identify(request, ALLOWED.use);
      const { query } = request;
      const filter = {
        owner: ownerScope(caller),
        types: readTypes(query.types),
        batchId: query.batchId ?? null,
      };
      const from = lastEventId(request);
      return await stream(reply, deps, (signal) => feed.follow(filter, from, signal));
    },
  );
}

async function stream(
  reply: FastifyReply,
  deps: JobRoutesDeps,
  follow: (signal: AbortSignal) => AsyncIterable<StoredEvent>,
): Promise<FastifyReply> {
  await sendEventStream(reply, {
    clock: deps.clock,
    heartbeatMs: HEARTBEAT_MS,
    closing: deps.closing,
    source: (signal) => toStream(follow(signal)),
  });
  return reply;
}

async function* toStream(
  events: AsyncIterable<StoredEvent>,
): AsyncGenerator<StreamEvent, void, undefined> {
  for await (const event of events) {
    yield { id: event.id, event: event.type, data: toEventView(event) };
  }
}

function readTypes(text: string | undefined): string[] | null {
  if (text === undefined) return null;
  const types = text.split(",");
  const unknown = types.find((type) => !(EVENT_TYPES as readonly string[]).includes(type));
  if (unknown !== undefined) {
    throw new HoldfastError(
      "invalid_request",
      `types: there is no event type "${unknown}"; they are ${EVENT_TYPES.join(", ")}`,
      { details: { field: "querystring.types" } },
    );
  }
  return types;
}
