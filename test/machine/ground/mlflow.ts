/**
 * A real MLflow tracking server: a lean set of its packages, installed once by uv into the tools of tests,
 * and started on loopback with a database and artifacts of its own.
 */
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { freePort, temporaryFolder, until } from "../../support/processes.ts";
import { findPython } from "./python.ts";
import { findUv, kept } from "./tools.ts";

const VERSION = "3.17.2";
/** `mlflow` itself brings 850 MB, for training models; tracking needs these. */
const PACKAGES = [
  `mlflow-skinny==${VERSION}`,
  "flask==3.1.3",
  "flask-cors==6.0.5",
  "sqlalchemy==2.1.9",
  "alembic==1.20.1",
  "graphene==3.4.3",
  "huey==3.5.4",
  "pandas==3.1.1",
  "aiohttp==3.14.5",
  "cryptography==50.0.2",
  "gunicorn==27.0.1",
];
const INSTALL_LIMIT_MS = 300_000;
const START_LIMIT_MS = 120_000;
const STOP_LIMIT_MS = 10_000;
/** Output kept of the server, for the message of a failed test. */
const TAIL_CHARS = 4_000;
const run = promisify(execFile);

/** The Python that has MLflow; undefined, having said so, where it cannot be had. */
export async function findMlflow(): Promise<string | undefined> {
  const python = findPython();
  const uv = await findUv();
  if (python === undefined || uv === undefined) return undefined;
  const version = `${VERSION}-python${python.version}`;
  return await kept("mlflow", version, join("bin", "python"), async (folder) => {
    const options = { timeout: INSTALL_LIMIT_MS };
    const venv = ["venv", "--quiet", "--relocatable", "--clear", "--python", python.path, folder];
    await run(uv, venv, options);
    const inside = join(folder, "bin", "python");
    // Compiled, or each start costs 10 s of CPU more.
    const install = ["pip", "install", "--quiet", "--compile-bytecode", "--python", inside];
    await run(uv, [...install, ...PACKAGES], options);
  });
}

/** A server; its address and what it keeps stay the same over its lives. */
export interface MlflowServer {
  readonly url: string;
  /** Resolves when it answers. */
  start(): Promise<void>;
  /** SIGKILL, to all its processes. */
  kill(): Promise<void>;
  /** Ends it and removes its folder. */
  close(): Promise<void>;
}

/** Starts one. Rejects with its last words when it does not come up. */
export async function startMlflow(python: string): Promise<MlflowServer> {
  const folder = await temporaryFolder();
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  let child: ChildProcess | undefined;
  let tail = "";
  const keep = (chunk: Buffer): void => {
    tail = (tail + chunk.toString("utf8")).slice(-TAIL_CHARS);
  };
  const database = `sqlite:///${join(folder.path, "mlflow.db")}`;
  const address = ["--host", "127.0.0.1", "--port", String(port), "--workers", "1"];
  const stores = [
    "--backend-store-uri",
    database,
    "--artifacts-destination",
    join(folder.path, "artifacts"),
  ];

  async function end(signal: NodeJS.Signals): Promise<void> {
    const ending = child;
    child = undefined;
    if (ending?.pid === undefined) return;
    const { pid } = ending;
    const ended = new Promise((resolve) => ending.once("close", resolve));
    signalGroup(pid, signal);
    const timer = setTimeout(() => signalGroup(pid, "SIGKILL"), STOP_LIMIT_MS);
    if (ending.exitCode === null && ending.signalCode === null) await ended;
    clearTimeout(timer);
    // The one that listens is a child of the one that was started, and outlives its SIGKILL.
    signalGroup(pid, "SIGKILL");
  }
  const server: MlflowServer = {
    url,
    async start() {
      const started = spawn(python, ["-m", "mlflow", "server", ...address, ...stores], {
        env: {
          PATH: process.env["PATH"] ?? "",
          HOME: folder.path,
          MLFLOW_DISABLE_TELEMETRY: "true",
          DO_NOT_TRACK: "true",
          // Else it starts eight more processes of 235 MB each.
          MLFLOW_SERVER_ENABLE_JOB_EXECUTION: "false",
        },
        cwd: folder.path,
        stdio: ["ignore", "pipe", "pipe"],
        detached: true,
      });
      child = started;
      started.stdout.on("data", keep);
      started.stderr.on("data", keep);
      started.once("error", (error) => keep(Buffer.from(String(error))));
      const answers = async (): Promise<boolean> => {
        if (started.exitCode !== null) throw new Error(`it ended with ${started.exitCode}`);
        return (await fetch(`${url}/health`, { signal: AbortSignal.timeout(2_000) })).ok;
      };
      await until("MLflow answers", answers, START_LIMIT_MS).catch((error: unknown) => {
        throw new Error(`MLflow did not start:\n${tail}`, { cause: error });
      });
    },
    kill: () => end("SIGKILL"),
    async close() {
      await end("SIGTERM");
      await folder.remove();
    },
  };
  await server.start().catch(async (error: unknown) => {
    await server.close();
    throw error;
  });
  return server;
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // Nobody of it is left.
  }
}
