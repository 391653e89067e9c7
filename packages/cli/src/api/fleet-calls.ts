import { randomUUID } from "node:crypto";
import type { FleetMachineView, FleetStatus, LeverView, SystemHealth } from "@holdfast/contract";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import type { MachineRun } from "../fleet/machine-page.ts";
import { failureOf, fieldOf, type ApiClient } from "./api-client.ts";
import { toList } from "./job-calls.ts";
import { listAll, type Listed } from "./list-all.ts";
import { requestUnderKey, type SleepingClock } from "./repeatable.ts";

/*
 * As in `job-calls.ts`: answers are checked for the fields without which nothing can be shown, not
 * against the whole schema.
 */

/** Where the fleet is told of. */
export const FLEET_PATH = "/api/v1/fleet";
/** Where the system's health is told of. */
export const HEALTH_PATH = `${FLEET_PATH}/health`;
/** Most that one page holds. */
const PAGE = 500;

/** What can be set while the fleet runs. */
export interface LeverRequest {
  readonly kind: "threshold" | "window" | "minimum" | "clear" | "pause";
  readonly value: number | string | boolean;
  readonly reason: string;
}

/** What is to be started by a person's word. */
export interface SpawnRequest {
  readonly pool?: string;
  readonly count: number;
  readonly force: boolean;
  readonly reason: string;
}

/** A status out of an answer; throws {@link CommandFailure} when it is none. */
export function toFleetStatus(value: unknown): FleetStatus {
  const isWhole =
    typeof fieldOf(fieldOf(value, "breaker"), "text") === "string" &&
    typeof fieldOf(fieldOf(value, "counts"), "healthy") === "number" &&
    ["machines", "pools", "levers"].every((name) => Array.isArray(fieldOf(value, name)));
  if (isWhole) return value as FleetStatus;
  throw notHoldfast("a status of the fleet");
}

/** The system's health out of an answer; throws {@link CommandFailure} when it is none. */
export function toSystemHealth(value: unknown): SystemHealth {
  const state = fieldOf(value, "state");
  const isState = ["healthy", "degraded", "down"].some((known) => known === state);
  if (!isState || !Array.isArray(fieldOf(value, "problems"))) {
    throw notHoldfast("the system's health");
  }
  toFleetStatus(fieldOf(value, "fleet"));
  return value as SystemHealth;
}

function notHoldfast(what: string): CommandFailure {
  return new CommandFailure(
    EXIT.unavailable,
    `the server's answer is not ${what}: is it a Holdfast server of about this version?`,
  );
}

/** The fleet as it is. */
export async function getFleet(api: ApiClient): Promise<FleetStatus> {
  return toFleetStatus(await api.json(FLEET_PATH));
}

/** Machines, newest first, at most `limit`; says whether there are more. */
export async function listMachines(
  api: ApiClient,
  { limit, isLiving }: { readonly limit: number; readonly isLiving: boolean },
): Promise<Listed<FleetMachineView>> {
  const query = new URLSearchParams(isLiving ? { living: "true" } : {});
  const toMachine = (item: unknown) => item as FleetMachineView;
  return await listAll(api, `${FLEET_PATH}/machines`, query, limit, toMachine);
}

/** Most machines that are looked through for a name. */
const FIND_MAX = 20_000;

/** A machine by its name or one of its ids; the newest of that name. Undefined when there is none. */
export async function findMachine(
  api: ApiClient,
  ref: string,
): Promise<FleetMachineView | undefined> {
  const isMeant = ({ name, id, machineId }: FleetMachineView): boolean =>
    [name, id, machineId].includes(ref);
  const query = new URLSearchParams({ limit: String(PAGE) });
  for (let seen = 0; seen < FIND_MAX; seen += PAGE) {
    const page = await api.json(`${FLEET_PATH}/machines?${query.toString()}`);
    const found = (toList(page, "items") as readonly FleetMachineView[]).find(isMeant);
    const next = fieldOf(page, "next");
    if (found !== undefined || typeof next !== "string") return found;
    query.set("cursor", next);
  }
  return undefined;
}

/** How the starts of a machine went, newest first; null where its agent is not known (any more). */
export async function listRuns(
  api: ApiClient,
  machineId: string,
): Promise<readonly MachineRun[] | null> {
  const answer = await api.request(`/api/v1/machines/${encodeURIComponent(machineId)}/steps`);
  if (answer.kind === "refused" && answer.code === "not_found") return null;
  if (answer.kind !== "answered") throw failureOf(answer, api.baseUrl);
  return toList(await answer.response.json(), "runs") as readonly MachineRun[];
}

/** What people have set, newest first, at most `limit`. */
export async function listLevers(api: ApiClient, limit: number): Promise<readonly LeverView[]> {
  const page = await api.json(`${FLEET_PATH}/levers?limit=${Math.min(PAGE, limit)}`);
  return toList(page, "items") as readonly LeverView[];
}

/** Sets a lever. */
export async function setLever(api: ApiClient, lever: LeverRequest): Promise<LeverView> {
  return (await api.json(`${FLEET_PATH}/levers`, { method: "POST", json: lever })) as LeverView;
}

/** Undoes a lever; `reason` is recorded, where there is one. */
export async function undoLever(
  api: ApiClient,
  id: string,
  reason: string | undefined,
): Promise<LeverView> {
  const query = reason === undefined ? "" : `?${new URLSearchParams({ reason }).toString()}`;
  const path = `${FLEET_PATH}/levers/${encodeURIComponent(id)}${query}`;
  return (await api.json(path, { method: "DELETE" })) as LeverView;
}

/** What a wish for machines came to. */
export type Spawned =
  | { readonly kind: "started"; readonly machines: readonly FleetMachineView[] }
  /** It needs force: `message` says why, and what that would risk. */
  | { readonly kind: "blocked"; readonly message: string; readonly failure: CommandFailure };

/**
 * Starts machines. A connection that is cut in between is tried again under the same idempotency key, so
 * nothing is started twice.
 */
export async function spawnMachines(
  api: ApiClient,
  request: SpawnRequest,
  clock: SleepingClock,
): Promise<Spawned> {
  const answer = await requestUnderKey(api, `${FLEET_PATH}/spawn`, {
    method: "POST",
    json: request,
    key: `cli-${randomUUID()}`,
    clock,
  });
  if (answer.kind === "answered") {
    const machines = toList(await jsonOf(answer.response), "machines");
    return { kind: "started", machines: machines as readonly FleetMachineView[] };
  }
  const failure = failureOf(answer, api.baseUrl);
  if (answer.kind !== "refused" || answer.code !== "spawning_blocked") throw failure;
  return { kind: "blocked", message: answer.message, failure };
}

async function jsonOf(response: Response): Promise<unknown> {
  return await response.json().catch(() => {
    throw notHoldfast("a list of machines");
  });
}

/** Ends a machine, by its id or name. */
export async function endMachine(
  api: ApiClient,
  ref: string,
  request: { readonly reason: string; readonly now: boolean },
): Promise<FleetMachineView> {
  const path = `${FLEET_PATH}/machines/${encodeURIComponent(ref)}/end`;
  return (await api.json(path, { method: "POST", json: request })) as FleetMachineView;
}
