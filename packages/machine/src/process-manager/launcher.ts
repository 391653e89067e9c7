/**
 * What PM2 is given to start: a shell script that becomes the program. It is there for what PM2 7.0.4
 * cannot do itself (measured, and read in `lib/God/ForkMode.js`):
 *
 * - The environment is exactly the spec's. PM2 adds thirty names of its own and the caller's, and
 *   lets a variable called `name` or `status` overwrite its own fields. Its `NODE_CHANNEL_FD` makes a
 *   Node that the program starts later fail at once. Values never stand in an argument list, where
 *   every user of the host could read them.
 * - The program writes its log files itself. PM2 pipes the output through its daemon, so a process
 *   that prints dies (or fails its job) once the daemon was killed, and `reloadLogs` drops what is
 *   printed while it reopens the files.
 */
import { createHash } from "node:crypto";
import type { ProcessSpec } from "./model.ts";
import { MARK, MARK_PID, type ProcessMarks } from "./process-marks.ts";

const NAME = /^[A-Za-z0-9_][A-Za-z0-9._+-]*$/;
const NAME_MAX = 128;
const ENV_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
/** Linux takes 128 KiB in one argument or variable. */
const TEXT_MAX_BYTES = 120_000;
const ARGS_MAX = 2_000;

/** What is wrong with a spec, each in words; empty when it can be started. */
export function specProblems(spec: ProcessSpec): readonly string[] {
  const problems: string[] = [];
  if (!NAME.test(spec.name) || spec.name.length > NAME_MAX || spec.name === "all") {
    problems.push(
      `name "${spec.name}": expected letters, digits, '.', '_', '+' or '-', up to ${NAME_MAX}, and not "all"`,
    );
  }
  const paths = { command: spec.command, cwd: spec.cwd, out: spec.outFile, error: spec.errorFile };
  for (const [what, path] of Object.entries(paths)) {
    if (!path.startsWith("/")) problems.push(`${what} "${path}": expected an absolute path`);
  }
  if (spec.args.length > ARGS_MAX) problems.push(`${spec.args.length} arguments: too many`);
  for (const name of Object.keys(spec.env)) {
    if (!ENV_NAME.test(name)) problems.push(`variable "${name}": not a name that a shell can set`);
    else if (isMark(name)) problems.push(`variable ${name}: Holdfast sets it itself`);
  }
  const texts = [...Object.values(paths), ...spec.args, ...Object.values(spec.env), spec.digest];
  if (texts.some((text) => text.includes("\0"))) problems.push("a value holds a NUL character");
  if (texts.some((text) => Buffer.byteLength(text) > TEXT_MAX_BYTES)) {
    problems.push(`a value is longer than ${TEXT_MAX_BYTES} bytes`);
  }
  if (!Number.isSafeInteger(spec.stopTimeoutMs) || spec.stopTimeoutMs < 0) {
    problems.push(`stop time ${spec.stopTimeoutMs}: expected whole milliseconds`);
  }
  return problems;
}

function isMark(name: string): boolean {
  return name === MARK_PID || (Object.values(MARK) as string[]).includes(name);
}

/** The marks of a process to be started. */
export function marksOf(spec: ProcessSpec, machine: string): ProcessMarks {
  return {
    [MARK.digest]: spec.digest,
    [MARK.machine]: machine,
    [MARK.name]: spec.name,
    [MARK.stopTimeoutMs]: String(spec.stopTimeoutMs),
  };
}

/** Text as one word of a POSIX shell. */
export function shellWord(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

/** The script. Holds the environment's values: readable by its owner alone. */
export function launcherScript(spec: ProcessSpec, machine: string): string {
  const variables = { ...marksOf(spec, machine), ...spec.env };
  const out = shellWord(spec.outFile);
  const error = spec.errorFile === spec.outFile ? "2>&1" : `2>>${shellWord(spec.errorFile)}`;
  return [
    "#!/bin/sh",
    "# Written by Holdfast for each start. Cleared of PM2's environment and channel, then the program.",
    'if [ "$1" != clean ]; then',
    "  exec 3>&-",
    '  exec /usr/bin/env -i /bin/sh "$0" clean',
    "fi",
    "unset PWD OLDPWD SHLVL",
    ...Object.entries(variables).map(([name, value]) => `export ${name}=${shellWord(value)}`),
    `export ${MARK_PID}=$$`,
    `exec </dev/null >>${out} ${error}`,
    `exec ${[spec.command, ...spec.args].map(shellWord).join(" ")}`,
    "",
  ].join("\n");
}

/**
 * PM2's ecosystem file for one start. `autorestart` is off: the supervisor decides, with its backoff
 * and its limits. PM2's own log files are the program's: what the launcher cannot do is told there.
 */
export function ecosystemJson(spec: ProcessSpec, machine: string, launcher: string): string {
  const app = {
    name: spec.name,
    script: launcher,
    interpreter: "/bin/sh",
    args: [],
    cwd: spec.cwd,
    env: marksOf(spec, machine),
    autorestart: false,
    kill_timeout: spec.stopTimeoutMs,
    out_file: spec.outFile,
    error_file: spec.errorFile,
    merge_logs: true,
    vizion: false,
    pmx: false,
    watch: false,
  };
  return JSON.stringify({ apps: [app] }, null, 2);
}

/**
 * Name of a start's files. Not the process's name: PM2 takes a path that holds `.yml` or `.config.js`
 * anywhere for another kind of file.
 */
export function startFileName(name: string): string {
  return createHash("sha256").update(name).digest("hex").slice(0, 24);
}
