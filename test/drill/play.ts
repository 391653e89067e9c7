/** Plays one fault: machines, a job, the fault at its first POST, and what became of it. */
import { applyPatch, type Graph } from "@holdfast/comfyui/protocol";
import { applyRecipe, type LossLevel } from "@holdfast/recovery";
import { nextInt, seededRandom } from "@holdfast/runtime";
import type { FaultRule } from "@holdfast/simulator";
import type { Caller } from "../../packages/control-plane/src/access/model.ts";
import type { JobPlan } from "../../packages/control-plane/src/scheduler/model.ts";
import type { AskedOfComfy } from "../simulation/world/comfy.ts";
import { changedValues } from "./changed-values.ts";
import type { Answering, DrillInstance, Scene } from "./fault-kind.ts";
import { graphOf, PLAIN, SAMPLER_CLASS, type DrillPicture } from "./graphs.ts";
import type { Fleet, Ground } from "./ground.ts";
import type { PlannedFault } from "./plan.ts";
import type { AttemptRecord, FaultRecord, PictureRecord } from "./record.ts";
import { pixelsOf, renderUndisturbed } from "./reference.ts";

const WHO: Caller = { id: "local", role: "admin", allowedClasses: null };
/** Simulated time after which a job that has not ended is given up: it is not recovered. */
const PATIENCE_MS = 30 * 60_000;
/** A card on which nothing that a drill renders runs out of memory or works in tiles. */
const ANY_SIZE_GIB = 80;

/** What a twin takes away from the system. */
export interface Sabotage {
  /** Lays hands on an instance before the job comes. */
  readonly onInstance?: (instance: DrillInstance) => void;
}

/** Plays a fault to its end and writes down what happened. */
export async function playFault(
  ground: Ground,
  fault: PlannedFault,
  sabotage: Sabotage = {},
): Promise<FaultRecord> {
  const { kind, index } = fault;
  const random = seededRandom(fault.seed);
  const picture: DrillPicture = {
    ...PLAIN,
    seed: nextInt(random, 2 ** 31),
    savesFirstStage: random.next() < 0.5,
    ...kind.picture?.(random),
  };
  const graph = graphOf(picture);
  const samplersDone = new Map<string, number>();
  const fleet = await ground.raise(
    kind.fleet,
    `fault-${index}`,
    nextInt(random, 2 ** 31),
    ({ promptId, classType }) => {
      if (classType !== SAMPLER_CLASS) return;
      samplersDone.set(promptId, (samplersDone.get(promptId) ?? 0) + 1);
    },
  );
  const heldBack = kind.heldBack === undefined ? undefined : fleet.instances[kind.heldBack];
  if (heldBack !== undefined) await setCordon(ground, heldBack, true);
  for (const instance of fleet.instances) sabotage.onInstance?.(instance);
  const striker = new Striker(ground, fleet, fault, picture, random);
  const startedAt = ground.timeline.now();
  const submitted = await ground.settle(ground.api().jobs.submit(WHO, [{ graph }], {}));
  const id = submitted.jobs[0]?.job.id ?? "";
  const isOver = await ground.until(() => hasEnded(ground, id), PATIENCE_MS);
  const tookMs = ground.timeline.now() - startedAt;
  if (!isOver) await ground.settle(ground.api().jobs.cancel(WHO, id));
  const job = await readJob(ground, id);
  const attempts = await readAttempts(ground, id, samplersDone);
  const isCompleted = isOver && job.state === "completed";
  const declared = declaredGraph(graph, job.plan);
  const changes = job.plan?.changes;
  const hasMet =
    !isOver || changes !== undefined || attempts.some((attempt) => attempt.class !== null);
  const loss: LossLevel = changes?.loss ?? "none";
  const last = fleet.instances.find(({ comfy }) => comfy.url === job.lastInstance);
  const reference =
    loss === "none"
      ? { graph, gib: ANY_SIZE_GIB }
      : { graph: declared, gib: last?.gib ?? ANY_SIZE_GIB };
  const checkpoints = kind.fleet.instances.flatMap((one) => one.checkpoints);
  const record: FaultRecord = {
    index,
    kind: kind.name,
    // What heals by itself may do so before the job meets it; anything else must have been met.
    hasStruck: kind.strike !== undefined && kind.isTransient ? striker.hasStruck : hasMet,
    state: isOver ? job.state : "unended",
    errorClass: job.errorClass,
    isPoison: job.poison,
    tookMs,
    attempts,
    loss,
    steps: changes?.steps ?? [],
    pictures: isCompleted ? await readPictures(ground, id) : [],
    expected: isCompleted
      ? await renderUndisturbed(reference.graph, { gib: reference.gib, checkpoints })
      : [],
    changed: changedValues(graph, declared),
    samplers: Object.values(graph).filter((node) => node.class_type === SAMPLER_CLASS).length,
  };
  striker.isOver = true;
  await ground.raze(fleet);
  return record;
}

/** Lets the fault strike at the job's first POST, and sees to what it set up from there on. */
class Striker {
  hasStruck = false;
  isOver = false;
  readonly #ground: Ground;
  readonly #fleet: Fleet;
  readonly #fault: PlannedFault;
  readonly #picture: DrillPicture;
  readonly #random: Scene["random"];
  readonly #answers = new Map<DrillInstance, Answering[]>();
  readonly #processes = new Map<DrillInstance, { starts: number; rules: string[] }>();

  constructor(
    ground: Ground,
    fleet: Fleet,
    fault: PlannedFault,
    picture: DrillPicture,
    random: Scene["random"],
  ) {
    this.#ground = ground;
    this.#fleet = fleet;
    this.#fault = fault;
    this.#picture = picture;
    this.#random = random;
    for (const instance of fleet.instances) {
      instance.comfy.onAsked = (asked) => this.#onAsked(instance, asked);
    }
  }

  #onAsked(instance: DrillInstance, asked: AskedOfComfy): ReturnType<Answering> {
    const promptId = promptOfJob(asked);
    if (!this.hasStruck && promptId !== undefined) this.#strike(instance, promptId);
    this.#forgetDeadRules(instance);
    for (const answer of this.#answers.get(instance) ?? []) {
      const instead = answer(asked);
      if (instead !== undefined) return instead;
    }
    return undefined;
  }

  #strike(struck: DrillInstance, promptId: string): void {
    this.hasStruck = true;
    const { heldBack } = this.#fault.kind;
    const held = heldBack === undefined ? undefined : this.#fleet.instances[heldBack];
    if (held !== undefined) {
      this.#ground.timeline.after(0, () => setCordon(this.#ground, held, false));
    }
    this.#fault.kind.strike?.({
      struck,
      all: this.#fleet.instances,
      checkpoint: this.#picture.checkpoint,
      promptId,
      random: this.#random,
      after: (ms, run) => this.#after(ms, run),
      untilRestart: (where, rule) => this.#addUntilRestart(where, rule),
      answer: (where, how) =>
        void this.#answers.set(where, [...(this.#answers.get(where) ?? []), how]),
    });
  }

  /** Nothing that was set up outlives the fault's own job. */
  #after(ms: number, run: () => void): void {
    this.#ground.timeline.after(ms, () => {
      if (!this.isOver) run();
    });
  }

  #addUntilRestart(where: DrillInstance, rule: FaultRule): void {
    const { simulator } = where.comfy;
    const known = this.#processes.get(where) ?? { starts: simulator.stats().starts, rules: [] };
    known.rules.push(simulator.faults.add(rule));
    this.#processes.set(where, known);
  }

  #forgetDeadRules(where: DrillInstance): void {
    const known = this.#processes.get(where);
    const { simulator } = where.comfy;
    if (known === undefined || known.starts === simulator.stats().starts) return;
    for (const rule of known.rules) simulator.faults.clear(rule);
    this.#processes.delete(where);
  }
}

/** The prompt id, when the request posts a job's prompt; a check of the instance is none. */
function promptOfJob({ method, path, body }: AskedOfComfy): string | undefined {
  if (method !== "POST" || path !== "/prompt") return undefined;
  const posted = JSON.parse(body.toString()) as {
    readonly prompt_id?: string;
    readonly extra_data?: { readonly holdfast?: { readonly jobId?: string } };
  };
  return posted.extra_data?.holdfast?.jobId === undefined ? undefined : posted.prompt_id;
}

/** The graph that the job says it has been given: the caller's with the declared changes. */
export function declaredGraph(graph: Graph, plan: JobPlan | null): Graph {
  if (plan?.changes === undefined) return graph;
  if (plan.recipe !== undefined) return applyRecipe(graph, plan.recipe);
  return plan.patch === null ? graph : applyPatch(graph, plan.patch);
}

async function setCordon(ground: Ground, { comfy }: DrillInstance, isOn: boolean): Promise<void> {
  const sql = "update instances set cordoned = $2 where key = $1 returning id";
  const rows = await ground.database.read(sql, [comfy.url, isOn]);
  if (rows.length !== 1) throw new Error(`${comfy.url} is not there to be cordoned`);
}

async function hasEnded(ground: Ground, id: string): Promise<boolean> {
  const [row] = await ground.database.read(
    "select ended_at is not null as ended from jobs where id = $1",
    [id],
  );
  return row?.["ended"] === true;
}

interface JobRow {
  readonly state: string;
  readonly poison: boolean;
  readonly plan: JobPlan | null;
  readonly errorClass: string | null;
  /** Address of the instance of the newest attempt. */
  readonly lastInstance: string | null;
}

async function readJob(ground: Ground, id: string): Promise<JobRow> {
  const [row] = await ground.database.read(
    `select j.state, j.poison, j.plan, j.error ->> 'class' as "errorClass",
       (select i.key from attempts a join instances i on i.id = a.instance_id
        where a.job_id = j.id order by a.number desc limit 1) as "lastInstance"
     from jobs j where j.id = $1`,
    [id],
  );
  if (row === undefined) throw new Error(`job ${id} is lost`);
  return row as unknown as JobRow;
}

async function readAttempts(
  ground: Ground,
  id: string,
  samplersDone: ReadonlyMap<string, number>,
): Promise<readonly AttemptRecord[]> {
  const rows = await ground.database.read(
    `select prompt_id as "promptId", outcome, error ->> 'class' as class,
       error ->> 'strategy' as strategy, coalesce(decision ->> 'rung', decision ->> 'rule') as rule, decision ->> 'action' as action,
       decision ->> 'reason' as reason
     from attempts where job_id = $1 order by number`,
    [id],
  );
  return rows.map(({ promptId, ...row }) => ({
    ...(row as unknown as Omit<AttemptRecord, "samplersDone">),
    samplersDone: samplersDone.get(String(promptId)) ?? 0,
  }));
}

async function readPictures(ground: Ground, id: string): Promise<readonly PictureRecord[]> {
  const rows = await ground.database.read(
    `select o.node_id as "nodeId", o.ordinal, o.sha256 from outputs o join jobs j on j.id = o.job_id
     where o.job_id = $1 and o.lineage = j.lineage order by o.node_id, o.ordinal`,
    [id],
  );
  return rows.map(({ nodeId, ordinal, sha256 }) => {
    const png = ground.store.blobs.get(String(sha256));
    const pixels = png === undefined ? "not in the store" : pixelsOf(png);
    return { nodeId: String(nodeId), ordinal: Number(ordinal), pixels };
  });
}
