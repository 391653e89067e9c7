export { VRAM_PRESETS, type VramPreset } from "./card/vram.ts";
export type { FaultAction, FaultMatch, FaultRecord, FaultRule } from "./faults/rules.ts";
export type { Admission, AskedRequest } from "./front.ts";
export type { Reply } from "./http/reply.ts";
export {
  createInProcessSimulator,
  type InProcessAnswer,
  type InProcessSimulator,
} from "./in-process.ts";
export { MAX_HISTORY } from "./engine/history.ts";
export { runSimulator, type SimulatorCommand } from "./main.ts";
export { DEFAULT_MODELS, type SimulatorOptions } from "./options.ts";
export type { SimulatorFaults, SimulatorStats } from "./simulation.ts";
export type { HubSocket } from "./sockets.ts";
export { startSimulator, type Simulator } from "./simulator.ts";
