export { AGENT_VERSION, createAgent } from "./agent.ts";
export type {
  Agent,
  AgentOptions,
  AgentStatus,
  ServedHealth,
  ServedInstance,
} from "./agent-options.ts";
export type { AgentLog } from "./agent-log.ts";
export type { Disk, OpenFile } from "./disk.ts";
export { enrollMachine, readMachineKey, type EnrollOptions, type MachineKey } from "./enroll.ts";
export type { ComfyTransport } from "./instance-deps.ts";
export type { InventoryPromise } from "./inventory-promise.ts";
export { createHttpLink, type HttpLink, type HttpLinkOptions } from "./http-link.ts";
export { DEFAULT_LIMITS, type AgentLimits } from "./limits.ts";
export type { OwnReport } from "./machine-report-fit.ts";
export type { ToldRun } from "./machine-teller.ts";
export type { FetchModels } from "./model-fetches.ts";
export type { InstanceControl } from "./instance-control.ts";
