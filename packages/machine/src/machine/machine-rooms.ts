/** What a machine is made from on a real host; a test may put something else into each place. */
import { createAgent, type Agent, type AgentOptions } from "@holdfast/agent";
import { createGpuQuery, type GpuQuery } from "@holdfast/gpu";
import { lockFolder } from "./folder-owner.ts";
import { readHostFacts } from "./host-facts.ts";
import { createInstallerParts } from "./installer-parts.ts";
import type { MachineOptions } from "./machine-options.ts";
import type { HostFacts } from "./machine-report.ts";
import {
  createServingRooms,
  type ServingRooms,
  type ServingRoomsOptions,
} from "./serving-rooms.ts";

/** The places. */
export interface MachineRooms {
  /** Takes the lock of a machine folder, a file. */
  readonly lockFolder: typeof lockFolder;
  readonly makeAgent: (options: AgentOptions) => Agent;
  readonly gpus: GpuQuery;
  readonly makeParts: typeof createInstallerParts;
  readonly makeServing: (options: ServingRoomsOptions) => ServingRooms;
  readonly readHost: (folder: string) => Promise<HostFacts>;
}

/** Those of a real host. */
export function hostRooms({ clock, programs }: MachineOptions): MachineRooms {
  const program = programs.nvidiaSmi === null ? {} : { program: programs.nvidiaSmi };
  return {
    lockFolder,
    makeAgent: createAgent,
    gpus: createGpuQuery({ clock, ...program }),
    makeParts: createInstallerParts,
    makeServing: createServingRooms,
    readHost: readHostFacts,
  };
}
