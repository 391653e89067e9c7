import type { AgentLog } from "@holdfast/agent";
import type { Log, LogFields } from "../../../packages/control-plane/src/platform/log.ts";
import type { Trace } from "./trace.ts";

/** A process's log, as lines of the trace. */
export function traceLog(trace: Trace, name: string): AgentLog & Log {
  const at =
    (level: string) =>
    (fields: LogFields, message: string): void =>
      trace.note(name, level, message, textOf(fields));
  const log: Log = {
    debug: () => undefined,
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    child: () => log,
  };
  return log;
}

function textOf(fields: LogFields): string {
  return Object.entries(fields)
    .map(([name, value]) => `${name}=${value instanceof Error ? value.message : String(value)}`)
    .join(" ");
}
