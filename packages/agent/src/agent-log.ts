import type { Logger } from "pino";

/** What the agent logs with: a pino logger, or anything shaped like one. */
export type AgentLog = Pick<Logger, "debug" | "info" | "warn" | "error">;
