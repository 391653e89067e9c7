/** The fields of one log line: ids and facts. */
export type AgentLogFields = Readonly<Record<string, unknown>>;

/** What the agent logs with: a pino logger, or anything shaped like one. */
export interface AgentLog {
  debug(fields: AgentLogFields, message: string): void;
  info(fields: AgentLogFields, message: string): void;
  warn(fields: AgentLogFields, message: string): void;
  error(fields: AgentLogFields, message: string): void;
}
