import { createHash } from "node:crypto";
import { join } from "node:path";
import type { ExtraService } from "../manifest/model.ts";
import type { ManagedProcess, ProcessSpec } from "../process-manager/model.ts";

/** The part of the manifest that makes a service a process. */
export type ProcessPart = NonNullable<ExtraService["process"]>;

const MS_PER_SECOND = 1_000;

/** What the manager is told to run. */
export function toProcessSpec(
  name: string,
  process: ProcessPart,
  where: {
    /** The program that was found. */
    readonly command: string;
    /** Of all services' logs; where the process runs unless the manifest says otherwise. */
    readonly folder: string;
    readonly baseEnv: Readonly<Record<string, string>>;
  },
): ProcessSpec {
  const { folder, command } = where;
  const cwd = process.cwd ?? folder;
  // Of what the manifest says, not of where the program was found nor of the agent's own environment:
  // a process that outlived an agent is adopted by the next one.
  const decisive = JSON.stringify([process.command, cwd, process.env, process.stopTimeoutSec]);
  return {
    name,
    command,
    args: process.command.slice(1),
    cwd,
    env: { ...where.baseEnv, ...process.env },
    ...logFilesOf(folder, name),
    stopTimeoutMs: process.stopTimeoutSec * MS_PER_SECOND,
    digest: createHash("sha256").update(decisive).digest("hex"),
  };
}

/** Where a service's output goes. */
export function logFilesOf(folder: string, name: string): { outFile: string; errorFile: string } {
  return { outFile: join(folder, name, "out.log"), errorFile: join(folder, name, "error.log") };
}

/** Whether it runs, and from this spec; one of an older manifest has to be started anew. */
export function isFromSpec(found: ManagedProcess, digest: string): boolean {
  const runs = found.state === "online" || found.state === "launching";
  return runs && found.pid !== null && found.digest === digest;
}

/** How a process that the manager lists, or does not any more, has ended. */
export function tellEnd(found: ManagedProcess | undefined): string {
  if (found === undefined) return "it ended and was removed";
  if (found.exitCode === null) return "it ended";
  // PM2 says 0 for a death by a signal, so 0 is no proof of a well-meant end.
  if (found.exitCode === 0) return "it ended (exit code 0, or a signal)";
  return `it ended (exit code ${found.exitCode})`;
}
