export {
  AGENT_VERSION,
  createAgent,
  type Agent,
  type AgentOptions,
  type AgentStatus,
} from "./agent.ts";
export type { AgentLog } from "./agent-log.ts";
export type { Disk, OpenFile } from "./disk.ts";
export type { ComfyTransport } from "./instance.ts";
export { createHttpLink, type HttpLink, type HttpLinkOptions } from "./http-link.ts";
export { DEFAULT_LIMITS, type AgentLimits } from "./limits.ts";
