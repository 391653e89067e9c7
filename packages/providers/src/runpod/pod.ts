/** Pods as RunPod tells of them, as far as they matter here, and what they are to us. */
import type { ProvidedMachine } from "@holdfast/fleet";
import { z } from "zod";
import { isName, LABEL_ENV, type FleetLabel } from "../label.ts";

const textOrNull = z.string().nullish().catch(null);

/**
 * What is read of a pod. Only its id and name must be there: what else is odd is taken as not told, so
 * that no pod of ours is overlooked for the sake of a field.
 */
const podSchema = z.object({
  id: z.string().min(1),
  name: z.string(),
  status: textOrNull,
  gpu: z.object({ id: textOrNull }).nullish().catch(null),
  dataCenterId: textOrNull,
  cost: z.number().nonnegative().nullish().catch(null),
  createdAt: textOrNull,
  env: z.record(z.string(), z.unknown()).nullish().catch(null),
  runtime: z
    .object({
      ports: z
        .array(
          z.object({
            private: z.number().nullish().catch(null),
            public: z.number().nullish().catch(null),
            type: textOrNull,
            ip: textOrNull,
          }),
        )
        .nullish()
        .catch(null),
    })
    .nullish()
    .catch(null),
});
/** See {@link podSchema}. */
export type Pod = z.output<typeof podSchema>;

/** A page of the list. Before September 2026 there was one page, without `pagination`. */
const listSchema = z.object({
  pods: z.array(podSchema),
  pagination: z.object({ hasNextPage: z.boolean(), nextCursor: z.string().nullish() }).nullish(),
});

/** A page of pods; `next` is null on the last one. */
export interface PodPage {
  readonly pods: readonly Pod[];
  readonly next: string | null;
}

/** Reads an answer that is one pod; undefined for anything else. */
export function parsePod(body: string): Pod | undefined {
  return podSchema.safeParse(parseJson(body)).data;
}

/** Reads a page; undefined for anything else, and when it says that there are more and not where. */
export function parsePage(body: string): PodPage | undefined {
  const page = listSchema.safeParse(parseJson(body)).data;
  if (page === undefined) return undefined;
  const { pods, pagination } = page;
  if (pagination?.hasNextPage !== true) return { pods, next: null };
  const { nextCursor } = pagination;
  return nextCursor ? { pods, next: nextCursor } : undefined;
}

/** Parses JSON; undefined for a text that is none. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** Pods of ours are called so: RunPod has no labels that pods can be made with. */
export function podName(label: FleetLabel, machine: string): string {
  return `${prefixOf(label)}${machine}`;
}

/** A dot is in no name of a fleet, a pool or a machine: no two labels have prefixes that are alike. */
function prefixOf(label: FleetLabel): string {
  return `holdfast.${label.fleet}.${label.pool}.`;
}

/**
 * The machine's name if a pod is one of ours: its own name says so, and its environment too where that
 * is told. One that somebody has given another name is theirs from then on. Undefined for all others.
 */
export function machineNameOf(pod: Pod, label: FleetLabel): string | undefined {
  const prefix = prefixOf(label);
  if (!pod.name.startsWith(prefix)) return undefined;
  const { env } = pod;
  const isTold = env !== null && env !== undefined && Object.keys(env).length > 0;
  if (isTold && (env[LABEL_ENV.fleet] !== label.fleet || env[LABEL_ENV.pool] !== label.pool)) {
    return undefined;
  }
  const name = pod.name.slice(prefix.length);
  return isName(name) ? name : undefined;
}

/** What RunPod's states are to us, with words where something is odd. */
const STATES: ReadonlyMap<string, Pick<ProvidedMachine, "state" | "reason">> = new Map([
  ["PROVISIONING", { state: "pending", reason: null }],
  ["STARTING", { state: "pending", reason: "its container is starting" }],
  ["RUNNING", { state: "running", reason: null }],
  [
    "EXITED",
    {
      state: "ended",
      reason: "its container has exited; its disk is billed until the pod is terminated",
    },
  ],
  ["ERROR", { state: "ended", reason: "RunPod calls its state ERROR: the container cannot go on" }],
  ["TERMINATED", { state: "ended", reason: null }],
]);

/** A pod as a machine. */
export function toMachine(pod: Pod, name: string, ports: readonly string[]): ProvidedMachine {
  const status = pod.status ?? "";
  // A word that is new to us is no proof of an end: a running machine must not be taken for gone.
  const { state, reason } = STATES.get(status) ?? {
    state: "running",
    reason: `RunPod calls its state ${status === "" ? "nothing" : status.slice(0, 40)}`,
  };
  const createdAt = Date.parse(pod.createdAt ?? "");
  return {
    ref: pod.id,
    name,
    state,
    reason,
    offer: {
      gpuType: pod.gpu?.id ?? null,
      zone: pod.dataCenterId ?? null,
      isSpot: false,
    },
    pricePerHour: priceOf(pod, state),
    address: addressOf(pod, ports),
    createdAt: Number.isNaN(createdAt) ? null : createdAt,
  };
}

/** One that is being made may be told with a price of 0, which is none. */
function priceOf(pod: Pod, state: ProvidedMachine["state"]): number | null {
  const cost = pod.cost ?? null;
  return cost === 0 && state !== "ended" ? null : cost;
}

/**
 * Public address and port of the first of our ports of kind tcp that has them. Behind ports of kind
 * http is RunPod's proxy; the address told for those is a private one.
 */
function addressOf(pod: Pod, ports: readonly string[]): string | null {
  const mapped = pod.runtime?.ports ?? [];
  for (const port of ports) {
    const [number, kind] = port.split("/");
    if (kind !== "tcp") continue;
    const found = mapped.find((one) => one.type === "tcp" && one.private === Number(number));
    if (found?.ip && found.public) {
      return found.ip.includes(":")
        ? `[${found.ip}]:${found.public}`
        : `${found.ip}:${found.public}`;
    }
  }
  return null;
}
