/** `GET /services/:service/logs`: the end of a service's log files, and what is written from then on. */
import { basename } from "node:path";
import type { AgentLog } from "@holdfast/agent";
import { HoldfastError } from "@holdfast/contract";
import type { Clock } from "@holdfast/runtime";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { followLogs, type FollowedFile, type LogPiece } from "./log-follow.ts";
import {
  createJsonFormatter,
  createTextFormatter,
  tailsAsJson,
  type FileTail,
  type LogFormatter,
} from "./log-format.ts";
import { parseLogQuery, type LogQuery } from "./log-query.ts";
import { sendLogStream } from "./log-stream.ts";
import { readTail } from "./log-tail.ts";

/** What the route needs. */
export interface LogRouteOptions {
  /** Throws `not_found` for a service that is not there. */
  readonly logFilesOf: (service: string) => readonly string[];
  readonly clock: Clock;
  readonly log: AgentLog;
  readonly closing: AbortSignal;
  /** Those that are answered by a stream are put in. */
  readonly streams: WeakSet<FastifyRequest>;
  readonly limits?: Partial<LogLimits>;
}

/** Bounds of what one client, and all together, may take. */
export interface LogLimits {
  /** Of each file, at once. */
  readonly tailMaxBytes: number;
  readonly filesMax: number;
  readonly followersMax: number;
  readonly pollMs: number;
  readonly stallMs: number;
  readonly followMaxMs: number;
}

const DEFAULT_LIMITS: LogLimits = {
  tailMaxBytes: 1024 * 1024,
  filesMax: 8,
  followersMax: 8,
  pollMs: 500,
  stallMs: 30_000,
  followMaxMs: 60 * 60_000,
};
/** After this somebody else may have stopped following. */
const RETRY_AFTER_SECONDS = 10;
/** When `isTruncated` matters and the answer is plain text. */
const TRUNCATED_HEADER = "x-holdfast-log-truncated";

/** Who follows logs now. */
export interface Followers {
  /** Resolves when all that follow now have ended, which they do when `closing` is aborted. */
  ended(): Promise<void>;
}

/** Adds the route. */
export function addLogRoutes(app: FastifyInstance, options: LogRouteOptions): Followers {
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const followers = new Set<Promise<void>>();
  app.get<{ Params: { service: string } }>("/services/:service/logs", async (request, reply) => {
    const { service } = request.params;
    const paths = pathsOf(service, options, limits);
    const query = parseLogQuery(request.query, request.headers.accept);
    const wanted = choose(service, paths, query.file);
    if (!query.follow) return await sendTails(reply, service, wanted, query, limits);
    // What a stream would say of itself; it has no end.
    if (request.method === "HEAD") return reply.type(contentType(query)).send();
    if (followers.size >= limits.followersMax) {
      throw new HoldfastError(
        "rate_limited",
        `${limits.followersMax} clients follow logs already, no more are served at once: end one, or ask without follow`,
        { retryAfterSeconds: RETRY_AFTER_SECONDS, details: { limit: limits.followersMax } },
      );
    }
    options.streams.add(request);
    const following = follow(reply, wanted, query, options, limits);
    const ended = following.catch(() => undefined);
    followers.add(ended);
    try {
      await following;
    } catch (err) {
      if (!reply.raw.headersSent) throw err;
      // The head is out: a connection that breaks off is all that can be told.
      options.log.warn({ err, service }, "log could not be followed to its end");
      reply.raw.destroy();
    } finally {
      followers.delete(ended);
    }
    return reply;
  });
  return {
    async ended() {
      await Promise.all(followers);
    },
  };
}

function pathsOf(
  service: string,
  options: LogRouteOptions,
  { filesMax }: LogLimits,
): readonly string[] {
  const paths = options.logFilesOf(service);
  if (paths.length > 0) return paths.slice(-filesMax);
  throw new HoldfastError("not_found", `the service ${service} writes no log on this machine`);
}

function choose(
  service: string,
  paths: readonly string[],
  file: string | undefined,
): readonly string[] {
  if (file === undefined) return paths;
  // By name among those that belong to the service: never a path of the caller's.
  const path = paths.find((one) => basename(one) === file);
  if (path !== undefined) return [path];
  const names = paths.map((one) => basename(one));
  throw new HoldfastError(
    "not_found",
    `the service ${service} has no log file of that name; there are: ${names.join(", ")}`,
    { details: { files: names } },
  );
}

async function sendTails(
  reply: FastifyReply,
  service: string,
  paths: readonly string[],
  query: LogQuery,
  limits: LogLimits,
): Promise<FastifyReply> {
  const tails = await readTails(paths, query, limits);
  void reply.type(contentType(query));
  if (query.format === "json") return reply.send(JSON.stringify(tailsAsJson(service, tails)));
  const isTruncated = tails.some(({ tail }) => tail.isTruncated);
  void reply.header(TRUNCATED_HEADER, String(isTruncated));
  const formatter = createTextFormatter(tails.length > 1);
  return reply.send(Buffer.concat(tails.map(toPiece).map((piece) => formatter.piece(piece))));
}

/** The files that are there, the one written last at the end. */
async function readTails(
  paths: readonly string[],
  query: LogQuery,
  limits: LogLimits,
): Promise<readonly FileTail[]> {
  const found: FileTail[] = [];
  for (const path of paths) {
    const tail = await readTail(path, { maxLines: query.tail, maxBytes: limits.tailMaxBytes });
    if (tail !== undefined) found.push({ path, tail });
  }
  return found.sort((a, b) => a.tail.modifiedAt - b.tail.modifiedAt);
}

async function follow(
  reply: FastifyReply,
  paths: readonly string[],
  query: LogQuery,
  { clock, closing }: LogRouteOptions,
  limits: LogLimits,
): Promise<void> {
  const tails = await readTails(paths, query, limits);
  const formatter: LogFormatter =
    query.format === "json" ? createJsonFormatter() : createTextFormatter(paths.length > 1);
  const files: FollowedFile[] = paths.map((path) => ({
    path,
    from: tails.find((one) => one.path === path)?.tail.position,
  }));
  await sendLogStream(reply, {
    clock,
    closing,
    contentType: contentType(query),
    stallMs: limits.stallMs,
    maxMs: limits.followMaxMs,
    async *source(signal) {
      for (const one of tails) yield formatter.piece(toPiece(one));
      for await (const piece of followLogs(files, { clock, signal, pollMs: limits.pollMs })) {
        yield formatter.piece(piece);
      }
    },
  });
}

function toPiece({ path, tail }: FileTail): LogPiece {
  return { path, bytes: tail.bytes };
}

function contentType({ format, follow }: LogQuery): string {
  if (format === "text") return "text/plain; charset=utf-8";
  return follow ? "application/x-ndjson; charset=utf-8" : "application/json; charset=utf-8";
}
