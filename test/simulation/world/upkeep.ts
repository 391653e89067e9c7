/** What must hold of the parts that are not in the database: limits at every tick, and a clean end. */
import { DEFAULT_LIMITS } from "@holdfast/agent";
import { MAX_HELD_ATTEMPTS } from "@holdfast/contract";
import type { World } from "./faults.ts";
import type { Ledger, Violation } from "./ledger.ts";
import { colorOf } from "./pictures.ts";
import type { PlannedJob } from "./workload.ts";

/** Polls that one agent process may have under way at a replica: the newest and those being ended. */
const POLLS_PER_AGENT = 12;
/** Things that are to happen, for each process: deadlines, retries, messages on their way. */
const EVENTS_PER_PROCESS = 2_000;
/** The spool may be passed by what was under way when it was full. */
const SPOOL_SLACK_BYTES = 64 * 1024;
/** Prompts of ours in one ComfyUI: running, staged, a check, and some that are being taken out. */
const QUEUE_MAX = 12;

/** P6, P2: whatever is not bounded, or has been done twice. */
export function checkTick(world: World): Violation[] {
  const found: Violation[] = [];
  const bad = (rule: string, what: string): void => void found.push({ rule, what });
  for (const machine of world.machines) {
    const status = machine.agent()?.agent.status();
    if (status === undefined) continue;
    if (status.spoolBytes > 64 * 1024 + SPOOL_SLACK_BYTES) {
      bad("P6", `${machine.name}: ${status.spoolBytes} bytes in the spool`);
    }
    const held = status.instances.reduce((sum, instance) => sum + instance.held.length, 0);
    const most = machine.comfys.length * (DEFAULT_LIMITS.collectingPerInstance + 4);
    if (held > Math.min(MAX_HELD_ATTEMPTS, most)) bad("P6", `${machine.name}: ${held} held`);
    if (status.unsentReports > 2 * most) {
      bad("P6", `${machine.name}: ${status.unsentReports} reports not sent`);
    }
  }
  for (const replica of world.replicas) {
    const polls = replica.waitingPolls();
    if (polls > world.machines.length * POLLS_PER_AGENT) {
      bad("P6", `${replica.name}: ${polls} polls wait`);
    }
  }
  for (const { url, simulator, doubles } of world.comfyWorld.all) {
    const { queueRemaining } = simulator.stats();
    if (queueRemaining > QUEUE_MAX) bad("P6", `${url}: ${queueRemaining} prompts in its queue`);
    for (const prompt of doubles) bad("P2", `${url}: prompt ${prompt} was queued twice`);
  }
  const processes = 1 + world.machines.length + world.replicas.length;
  if (world.timeline.waiting() > processes * EVENTS_PER_PROCESS) {
    bad("P6", `${world.timeline.waiting()} things are to happen`);
  }
  return found;
}

/** What is left behind once every job has ended: nothing. */
export function checkEnd(world: World, ledger: Ledger): Violation[] {
  const found: Violation[] = [];
  const bad = (what: string): void => void found.push({ rule: "P6", what: `left behind: ${what}` });
  if (ledger.openLeases() > 0) bad(`${ledger.openLeases()} leases`);
  for (const machine of world.machines) {
    const status = machine.agent()?.agent.status();
    if (status === undefined) {
      bad(`${machine.name} has no agent`);
      continue;
    }
    if (status.spoolBytes > 0) bad(`${machine.name}: ${status.spoolBytes} bytes in the spool`);
    if (status.unsentReports > 0) bad(`${machine.name}: ${status.unsentReports} reports not sent`);
    for (const instance of status.instances) {
      if (instance.held.length > 0) bad(`${instance.key} holds ${instance.held.length} attempts`);
      if (instance.state !== "healthy") {
        bad(`${instance.key} is ${instance.state}: ${instance.reason ?? ""}`);
      }
    }
  }
  for (const { url, simulator } of world.comfyWorld.all) {
    const { queueRemaining, historySize } = simulator.stats();
    if (queueRemaining > 0) bad(`${url}: ${queueRemaining} prompts in its queue`);
    // The last check's entry is what tells a restart.
    if (historySize > 2) bad(`${url}: ${historySize} entries in its history`);
  }
  return found;
}

/** What agents left on their disks, once they have been started anew with nothing to do. */
export function checkDisks(world: World): Violation[] {
  return world.machines.flatMap(({ name, disk }) =>
    disk
      .files()
      .filter((path) => path.includes("/spool/") || path.includes("/reports/"))
      .map((path) => ({ rule: "P6", what: `left behind: ${name}: ${path}` })),
  );
}

/** P3: what is stored for a completed job is that job's own pictures. */
export function checkPictures(
  world: World,
  ledger: Ledger,
  job: PlannedJob,
  id: string,
): Violation[] {
  const fate = ledger.fate(id);
  if (fate?.state !== "completed" || job.color === undefined) return [];
  return fate.outputs.flatMap(({ sha256, nodeId }) => {
    const bytes = world.store.blobs.get(sha256);
    const color = bytes === undefined ? undefined : colorOf(bytes);
    if (color === job.color) return [];
    const what = `${id}: node ${nodeId} has a picture of colour ${String(color)}, not ${job.color}`;
    return [{ rule: "P3", what }];
  });
}
