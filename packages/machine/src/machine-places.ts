import { createHash } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Longest `PM2_HOME` that works: its sockets are below it, and 108 bytes is the system's limit. */
const PM2_HOME_MAX = 80;

/**
 * Where everything of a machine is. A release is never changed once it is complete, and nothing but
 * the link `current` says which one serves.
 */
export interface MachinePlaces {
  readonly root: string;
  /** Complete and half-built releases, each a folder by its id. */
  readonly releases: string;
  /** Link to the release that serves. */
  readonly current: string;
  /** Link to the release that served before, for `rollback`. */
  readonly previous: string;
  /** Models that are fetched, unless the manifest names another folder. */
  readonly models: string;
  /** `input`, `output`, `user` of all instances, and links to shared repositories. */
  readonly shared: string;
  /** Further git repositories, by name and commit. */
  readonly repositories: string;
  /** Bare clones, so that a second checkout of a repository fetches only what is new. */
  readonly gitCache: string;
  /** What Python compiles of an adopted ComfyUI, into whose folder nothing is written. */
  readonly bytecode: string;
  /** uv and PM2, each in a folder by its version. */
  readonly tools: string;
  readonly pm2Home: string;
  /** Of each instance: its logs and what is its own. */
  readonly instances: string;
  /** Of each further service of the manifest: its logs. */
  readonly services: string;
  /** Changes of the services' states: NDJSON, bounded in size. */
  readonly transitions: string;
  /** Of each run of the installer: one NDJSON file. */
  readonly installLogs: string;
  /** Hashes of model files by path, size and time of change. */
  readonly hashCache: string;
  /** The last manifest that was good, as it was applied: in force while the file itself is wrong. */
  readonly appliedManifest: string;
  /** Where the health server of the agent that runs now listens, as JSON. */
  readonly healthAddress: string;
  /** Held by the one agent that runs what is in this folder. */
  readonly agentLock: string;
  /** Says that the manifest is held back since a rollback; see `release-hold.ts`. */
  readonly releaseHold: string;
  /** Held by whoever changes anything of this machine's installation. */
  readonly installLock: string;
}

/** The places below a machine folder (an absolute path). */
export function machinePlaces(root: string): MachinePlaces {
  return {
    root,
    releases: join(root, "releases"),
    current: join(root, "current"),
    previous: join(root, "previous"),
    models: join(root, "models"),
    shared: join(root, "shared"),
    repositories: join(root, "repositories"),
    gitCache: join(root, "cache", "git"),
    bytecode: join(root, "cache", "bytecode"),
    tools: join(root, "tools"),
    pm2Home: pm2Home(root),
    instances: join(root, "instances"),
    services: join(root, "services"),
    transitions: join(root, "logs", "transitions.ndjson"),
    installLogs: join(root, "logs", "install"),
    hashCache: join(root, "cache", "hashes.json"),
    appliedManifest: join(root, "machine.applied.yaml"),
    healthAddress: join(root, "health.json"),
    agentLock: join(root, "agent.lock"),
    releaseHold: join(root, "release-hold.json"),
    installLock: join(root, "install.lock"),
  };
}

function pm2Home(root: string): string {
  const own = join(root, "pm2");
  if (Buffer.byteLength(own) <= PM2_HOME_MAX) return own;
  // A longer one hangs PM2 without a word.
  const hash = createHash("sha256").update(root).digest("hex").slice(0, 16);
  return join(tmpdir(), `holdfast-pm2-${hash}`);
}
