import {
  checkpointRequestSchema,
  checkpointResponseSchema,
  inventoryUploadSchema,
  machineReportRequestSchema,
  startupStepsRequestSchema,
  pollRequestSchema,
  pollResponseSchema,
  registerRequestSchema,
  registerResponseSchema,
  renewRequestSchema,
  renewResponseSchema,
  reportRequestSchema,
  reportResponseSchema,
  type ControlPlaneLink,
  type ReportRequest,
  type ReportResponse,
} from "@holdfast/contract";
import type { Abortable } from "@holdfast/runtime";
import type { Route } from "./network.ts";
import type { ReplicaApi } from "./replica.ts";

/** A schema of the wire. */
interface Schema {
  safeParse(value: unknown): { success: boolean; error?: unknown };
}

/** What a link tells the simulation of. */
export interface LinkWatch {
  /** A message that the wire would not take. */
  onUnfit(what: string, problem: string): void;
  /** Reports as the control plane answered them, whether or not the answer arrives. */
  onReported(request: ReportRequest, response: ReportResponse): void;
}

// As the HTTP link has them.
const CALL_MS = 30_000;
const POLL_SLACK_MS = 15_000;
const TRANSFER_MS = 60_000;

/**
 * The control plane over the simulated network: every message is copied as JSON and held against the
 * wire's schema, both ways.
 */
export function createSimLink(route: Route<ReplicaApi>, watch: LinkWatch): ControlPlaneLink {
  const fit = <T>(what: string, value: T, schema: Schema): T => {
    const copy = JSON.parse(JSON.stringify(value)) as T;
    const parsed = schema.safeParse(copy);
    if (!parsed.success) watch.onUnfit(what, String(parsed.error));
    return copy;
  };
  const call = <I, O>(
    name: string,
    value: I,
    schemas: readonly [Schema, Schema],
    signal: Abortable,
    run: (link: ControlPlaneLink, value: I, signal: AbortSignal) => Promise<O>,
    limitMs = CALL_MS,
  ): Promise<O> => {
    const sent = fit(`${name} request`, value, schemas[0]);
    return route.call(name, signal, limitMs, async ({ link }, gone) =>
      fit(`${name} answer`, await run(link, sent, gone), schemas[1]),
    );
  };
  return {
    register: (request, signal) =>
      call(
        "register",
        request,
        [registerRequestSchema, registerResponseSchema],
        signal,
        (link, value, gone) => link.register(value, gone),
      ),
    poll: (request, signal) =>
      call(
        "poll",
        request,
        [pollRequestSchema, pollResponseSchema],
        signal,
        (link, value, gone) => link.poll(value, gone),
        request.waitMs + POLL_SLACK_MS,
      ),
    renew: (request, signal) =>
      call(
        "renew",
        request,
        [renewRequestSchema, renewResponseSchema],
        signal,
        (link, value, gone) => link.renew(value, gone),
      ),
    report: (request, signal) =>
      call(
        "report",
        request,
        [reportRequestSchema, reportResponseSchema],
        signal,
        async (link, value, gone) => {
          const response = await link.report(value, gone);
          watch.onReported(value, response);
          return response;
        },
      ),
    checkpoints: (request, signal) =>
      call(
        "checkpoints",
        request,
        [checkpointRequestSchema, checkpointResponseSchema],
        signal,
        (link, value, gone) => link.checkpoints(value, gone),
      ),
    putInventory: (upload, signal) =>
      route.call("putInventory", signal, CALL_MS, ({ link }, gone) => {
        const sent = fit("inventory", upload, inventoryUploadSchema);
        return link.putInventory(sent, gone);
      }),
    putMachineReport: (request, signal) =>
      route.call("putMachineReport", signal, CALL_MS, ({ link }, gone) =>
        link.putMachineReport(fit("machine report", request, machineReportRequestSchema), gone),
      ),
    putStartupSteps: (request, signal) =>
      route.call("putStartupSteps", signal, CALL_MS, ({ link }, gone) =>
        link.putStartupSteps(fit("startup steps", request, startupStepsRequestSchema), gone),
      ),
    putBlob: async (source, signal) => {
      const bytes = await collect(source.open());
      const { sha256, sizeBytes } = source;
      return route.call("putBlob", signal, TRANSFER_MS, ({ link }, gone) =>
        link.putBlob({ sha256, sizeBytes, open: () => oneOf(bytes) }, gone),
      );
    },
    getBlob: async (sha256, signal) => {
      const bytes = await route.call("getBlob", signal, CALL_MS, async ({ link }, gone) =>
        collect(await link.getBlob(sha256, gone)),
      );
      return oneOf(bytes);
    },
  };
}

async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of source) pieces.push(piece);
  return Buffer.concat(pieces);
}

async function* oneOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
