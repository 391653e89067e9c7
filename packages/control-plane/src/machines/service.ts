import {
  classInfo,
  graphNeeds,
  parseObjectInfo,
  promisedOutputs,
  validateGraph,
  type Graph,
  type ObjectInfo,
  type PromisedOutput,
  type ValidationIssue,
} from "@holdfast/comfyui/protocol";
import { HoldfastError, type InstanceReport, type InventoryUpload } from "@holdfast/contract";
import type { Clock } from "@holdfast/runtime";
import type { Db, Queryable } from "../platform/db.ts";
import { createSharedLook } from "../platform/shared-look.ts";
import {
  toInventoryIndex,
  type Instance,
  type InventoryIndex,
  type Machine,
  type MachineOffers,
  type PlacedInstance,
} from "./model.ts";
import { createMachineDetails, type MachineDetails } from "./detail-service.ts";
import { createFilesMerger } from "./model-files.ts";
import { createServers, type KnownInstance, type Servers } from "./servers.ts";
import * as reports from "./report-store.ts";
import * as store from "./store.ts";

/** Inventories kept in memory; a fleet has few kinds of machine. */
const INVENTORIES_KEPT = 256;
/** Kinds of machine that strict validation asks. */
const OBJECT_INFOS_ASKED = 8;
/** Machines in one list. */
const MACHINES_LISTED = 10_000;

/** A look at a fleet of ten thousand takes a fifth of a second; what it found is no older than this. */
const SERVERS_MAX_AGE_MS = 2_000;
/** Machines whose offers are looked at. */
const OFFERS_READ = 1_000;
/** What strict validation found: nothing wrong, the issues of the best kind of machine, or nobody to ask. */
export type StrictValidation =
  | { readonly kind: "valid" }
  | { readonly kind: "invalid"; readonly issues: readonly ValidationIssue[] }
  | { readonly kind: "no_machine" };

/** The machines and instances that have registered, and what they have. */
export interface MachinesService extends MachineDetails {
  /** What a machine is called; null when it is not there. Its row is held until the transaction ends. */
  lockName(tx: Queryable, machineId: string): Promise<string | null>;
  /** Writes the machine and its instances in the caller's transaction. */
  register(
    tx: Queryable,
    machine: store.MachineRegistration,
    instances: readonly store.InstanceRegistration[],
  ): Promise<{ readonly machine: Machine; readonly instances: readonly Instance[] }>;
  /** Writes reports that changed; returns those rows, for events: none once its session has ended. */
  report(
    db: Queryable,
    agent: store.ReportingAgent,
    reports: readonly InstanceReport[],
  ): Promise<readonly store.ReportedInstance[]>;
  /** Keeps an inventory under its digest. */
  putInventory(upload: InventoryUpload): Promise<void>;
  /** The inventory of a digest, from memory or the database; undefined when unknown. */
  inventory(digest: string): Promise<InventoryIndex | undefined>;
  /** All instances that their agents declare. */
  placedInstances(): Promise<PlacedInstance[]>;
  /** The fleet as it is now, to be asked who could run what. */
  servers(): Promise<Servers>;
  listMachines(): Promise<Machine[]>;
  /** Those of the instances whose agents can start them anew. */
  restartable(on: Queryable, instanceIds: readonly string[]): Promise<ReadonlySet<string>>;
  /** Who of the machines that are there could fetch models of these names. */
  offers(names: readonly string[]): Promise<readonly MachineOffers[]>;
  /**
   * Sets an instance, or all of its machine, aside for a time; gives those that were not set aside
   * already.
   */
  quarantine(
    tx: Queryable,
    instanceId: string,
    quarantine: Parameters<typeof store.setQuarantine>[2],
  ): Promise<readonly store.SetAside[]>;
  /** Sets or lifts a cordon, and a quarantine with it; throws `not_found`. */
  setCordon(instanceId: string, cordoned: boolean): Promise<Instance>;
  /** No new jobs for a machine, or jobs again. */
  setMachineCordon(tx: Queryable, machineId: string, cordoned: boolean): Promise<void>;
  markLost(timeoutMs: number): Promise<Machine[]>;
  /** Asks every kind of healthy machine whether it would accept the graph. */
  validateStrictly(graph: Graph): Promise<StrictValidation>;
  /** The output nodes by what machines declare; undefined when none knows all classes. */
  declaredOutputs(graph: Graph): Promise<readonly PromisedOutput[] | undefined>;
  numbers(): Promise<store.FleetCounts>;
}

/**
 * Makes the machines service on a database. With a clock a look at a large fleet is shared for a moment:
 * when a rack dies, every job on it asks who else could run it.
 */
export function createMachinesService(db: Db, clock?: Clock): MachinesService {
  const inventories = new Map<string, InventoryIndex>();
  const merge = createFilesMerger();
  const keep = (index: InventoryIndex): InventoryIndex => {
    inventories.set(index.digest, index);
    for (const digest of inventories.keys()) {
      if (inventories.size <= INVENTORIES_KEPT) break;
      inventories.delete(digest);
    }
    return index;
  };
  const inventory = async (digest: string): Promise<InventoryIndex | undefined> => {
    const known = inventories.get(digest);
    if (known !== undefined) return known;
    const [row] = await store.readInventories(db, [digest]);
    return row === undefined ? undefined : keep(toInventoryIndex(row));
  };
  const readServers = async (): Promise<Servers> => {
    const all = await store.listPlacedInstances(db);
    const known: KnownInstance[] = [];
    for (const instance of all) {
      if (instance.inventoryDigest === null) continue;
      const index = await inventory(instance.inventoryDigest);
      if (index !== undefined) known.push({ instance, inventory: index });
    }
    return createServers(all, known, merge);
  };
  return {
    ...createMachineDetails(db),
    lockName: store.lockMachineName,
    async register(tx, registration, declared) {
      const machine = await store.upsertMachine(tx, registration);
      const instances = await store.upsertInstances(tx, machine.id, declared);
      const keys = declared.map((instance) => instance.key);
      await store.setAsideUndeclared(tx, machine.id, keys);
      return { machine, instances };
    },
    async report(on, agent, reports) {
      const { instances, unknownDigests } = await store.reportInstances(on, agent, reports);
      // Remembered here, but removed since: forgotten, they are asked for again.
      for (const digest of unknownDigests) inventories.delete(digest);
      return instances;
    },
    async putInventory(upload) {
      await store.insertInventory(db, upload.inventory, upload.objectInfo);
      keep(toInventoryIndex(upload.inventory));
    },
    inventory,
    placedInstances: () => store.listPlacedInstances(db),
    servers:
      clock === undefined
        ? readServers
        : createSharedLook(readServers, { clock, maxMs: SERVERS_MAX_AGE_MS }),
    listMachines: () => store.listMachines(db, MACHINES_LISTED),
    restartable: (on, instanceIds) => store.readRestartable(on, instanceIds),
    offers: (names) => reports.readOffers(db, names, OFFERS_READ),
    quarantine: (tx, instanceId, quarantine) => store.setQuarantine(tx, instanceId, quarantine),
    async setCordon(instanceId, cordoned) {
      const instance = await store.setCordon(db, instanceId, cordoned);
      if (instance === null) {
        throw new HoldfastError("not_found", `there is no instance ${instanceId}`);
      }
      return instance;
    },
    setMachineCordon: (tx, machineId, cordoned) => store.setMachineCordon(tx, machineId, cordoned),
    markLost: (timeoutMs) => store.markLostMachines(db, timeoutMs),
    async validateStrictly(graph) {
      const infos = await knownObjectInfos(db);
      const answers = infos.map((info) =>
        validateGraph(graph, info).filter((issue) => issue.isCertain),
      );
      if (answers.length === 0) return { kind: "no_machine" };
      const best = [...answers].sort((a, b) => a.length - b.length)[0] ?? [];
      return best.length === 0 ? { kind: "valid" } : { kind: "invalid", issues: best };
    },
    async declaredOutputs(graph) {
      const { nodeClasses } = graphNeeds(graph);
      const infos = await knownObjectInfos(db);
      const info = infos.find((one) => nodeClasses.every((name) => classInfo(one, name)));
      return info === undefined ? undefined : promisedOutputs(graph, info);
    },
    numbers: () => store.countFleet(db),
  };
}

async function knownObjectInfos(db: Db): Promise<ObjectInfo[]> {
  const rows = await store.readObjectInfos(db, OBJECT_INFOS_ASKED);
  return rows.map((row) => parseObjectInfo(row)).filter((info) => info !== undefined);
}
