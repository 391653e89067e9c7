export * from "./agent.ts";
export type { BlobSource, ControlPlaneLink } from "./agent-link.ts";
export * from "./error-recovery.ts";
export { ERROR_CODES, HoldfastError, isHoldfastError, type ErrorCode } from "./errors.ts";
export * from "./events.ts";
export * from "./ids.ts";
export * from "./jobs.ts";
export { parseJsonKeepingIntegers } from "./json.ts";
export * from "./pages.ts";
