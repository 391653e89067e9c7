export {
  AGENT_VERSION,
  createAgent,
  type Agent,
  type AgentOptions,
  type AgentStatus,
} from "./agent.ts";
export type { AgentLog } from "./agent-log.ts";
export { createHttpLink, type HttpLink, type HttpLinkOptions } from "./http-link.ts";
export { DEFAULT_LIMITS, type AgentLimits } from "./limits.ts";
