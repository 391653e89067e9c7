import type { Lease, RegisterRequest, RegisterResponse } from "@holdfast/contract";
import type { IdSource } from "@holdfast/runtime";
import type { Caller } from "../access/model.ts";
import { bindToMachine, machineToRegister } from "../access/service.ts";
import type { MachinesService } from "../machines/service.ts";
import type { Queryable } from "../platform/db.ts";
import * as store from "./lease-store.ts";
import type { GrantedJob, SchedulerSettings } from "./model.ts";

/** What a registration is made of. */
export interface RegistrationDeps {
  readonly ids: IdSource;
  readonly settings: SchedulerSettings;
  readonly machines: MachinesService;
}

/** The registration's writes, in one transaction. */
export async function registerIn(
  tx: Queryable,
  request: RegisterRequest,
  caller: Caller,
  deps: RegistrationDeps,
  toLeases: (
    on: Queryable,
    granted: readonly GrantedJob[],
    mode: Lease["mode"],
  ) => Promise<Lease[]>,
): Promise<Omit<RegisterResponse, "config">> {
  const ttlMs = deps.settings.leaseTtlMs;
  const machineId = machineToRegister(caller, request.machineId) ?? deps.ids.next("mch");
  // Of a key of one machine it is asked what that was called; the row is held from here on.
  const nameBefore =
    caller.boundTo === undefined ? null : await deps.machines.lockName(tx, machineId);
  const { machine, instances } = await deps.machines.register(
    tx,
    {
      id: machineId,
      name: request.machineName,
      bootId: request.bootId,
      agentVersion: request.agentVersion,
    },
    request.instances.map(({ key, name, canRestart }) => ({
      id: deps.ids.next("ins"),
      key,
      name,
      canRestart: canRestart === true,
    })),
  );
  await bindToMachine(tx, caller, { id: machineId, isNew: machine.session === 1, nameBefore });
  const idByKey = new Map(instances.map((instance) => [instance.key, instance.id]));
  const granted = await store.takeOverLeases(tx, machineId, [...idByKey.values()], ttlMs);
  const discard: { key: string; promptId: string }[] = [];
  for (const { key, foundPrompts } of request.instances) {
    const instanceId = idByKey.get(key);
    const known = new Set(granted.map((job) => job.promptId));
    const strays = foundPrompts.filter((promptId) => !known.has(promptId));
    if (instanceId === undefined || strays.length === 0) continue;
    const readopted = await store.readoptPrompts(tx, machineId, instanceId, strays, ttlMs);
    granted.push(...readopted);
    const adopted = new Set(readopted.map((job) => job.promptId));
    for (const promptId of strays) if (!adopted.has(promptId)) discard.push({ key, promptId });
  }
  return {
    machineId,
    session: machine.session,
    instances: instances.map((instance) => ({ key: instance.key, instanceId: instance.id })),
    leases: await toLeases(tx, granted, "resume"),
    discard,
  };
}
