/** The table of a real ComfyUI that has the pack of fault nodes; `npm run drill` prints and keeps it. */
import type { Graph } from "@holdfast/comfyui/protocol";
import type { JobView } from "@holdfast/contract";
import { describe, expect, it } from "vitest";
import type { JobPlan } from "../../packages/control-plane/src/scheduler/model.ts";
import { startRealSystem, type RealSystem } from "../real/real-system.ts";
import { COMFYUI_URL, rendersWithin, RESTART_COMMAND, restartComfyUi } from "../real/target.ts";
import { startTcpProxy, type TcpProxy } from "../real/tcp-proxy.ts";
import { until } from "../support/processes.ts";
import { changedValues } from "./changed-values.ts";
import { keepPart } from "./keep-part.ts";
import { declaredGraph } from "./play.ts";
import { realFaults, type RealFault } from "./real-kinds.ts";
import type { AttemptRecord, FaultRecord, PictureRecord } from "./record.ts";
import { pixelsOf } from "./reference.ts";
import { realReportOf, rowsOf } from "./report.ts";
import { judgeAll } from "./score.ts";

/** Classes of the pack that the faults are made of. */
const PACK = ["HoldfastOOM", "HoldfastSleep", "HoldfastRaise", "HoldfastExit", "HoldfastFillDisk"];
/** A real minute is a real minute: a stall is called one as soon as the agent's floor allows. */
const QUICK = { HOLDFAST_STALL_MS: "5000", HOLDFAST_FIRST_LOAD_STALL_MS: "5000" };
const LIMIT_MS = 240_000;

if (COMFYUI_URL === "") console.warn("drill: a real ComfyUI is SKIPPED, none is named");

describe.skipIf(COMFYUI_URL === "")("a real ComfyUI", () => {
  it("recovers from what can be recovered, and says of the rest what it is", async () => {
    const answer = await fetch(`${COMFYUI_URL}/object_info`);
    const classes = (await answer.json()) as Readonly<Record<string, unknown>>;
    const lacking = PACK.filter((name) => !(name in classes));
    expect(lacking, "install comfyui-nodes/holdfast-faults there").toEqual([]);
    const faults = realFaults().filter(
      ({ needsRestart }) => RESTART_COMMAND !== "" || !needsRestart,
    );
    if (RESTART_COMMAND === "") console.warn("drill: what kills the real ComfyUI is SKIPPED");
    const records: FaultRecord[] = [];
    for (const [index, fault] of faults.entries()) records.push(await play(fault, index));
    const judged = judgeAll(
      records,
      faults.map(({ kind }) => kind),
    );
    const isPassed = judged.every(
      ({ kind, record, verdict }) =>
        record.hasStruck &&
        !verdict.isFalse &&
        verdict.isClassRight !== false &&
        (kind.isRecoverable ? verdict.isRecovered : verdict.isEndedRightly === true),
    );
    keepPart("real ComfyUI", { isPassed, ...rowsOf(judged) }, realReportOf(judged));
  });
});

async function play(fault: RealFault, index: number): Promise<FaultRecord> {
  const proxy = await startTcpProxy(COMFYUI_URL);
  const system = await startRealSystem(proxy.url, QUICK);
  try {
    await fault.before?.(proxy);
    let hasStruck = false;
    void fault.trap?.(proxy).then(() => (hasStruck = true));
    const startedAt = performance.now();
    const submitted = await system.client.submit(fault.graph);
    if (fault.during !== undefined) {
      hasStruck = await whileItRuns(system, submitted, proxy, fault.during);
    }
    const job = await system.ended(submitted, LIMIT_MS);
    const tookMs = Math.round(performance.now() - startedAt);
    return await recordOf(fault, index, system, { job, tookMs, hasStruck });
  } finally {
    await system.close();
    await proxy.close();
    if (fault.needsRestart === true && !(await rendersWithin(10_000))) await restartComfyUi();
  }
}

async function whileItRuns(
  system: RealSystem,
  job: JobView,
  proxy: TcpProxy,
  strike: NonNullable<RealFault["during"]>,
): Promise<boolean> {
  const isRunning = async (): Promise<boolean> => {
    const queue = (await (await fetch(`${COMFYUI_URL}/queue`)).json()) as {
      readonly queue_running: readonly (readonly unknown[])[];
    };
    const attempts = await system.client.attempts(job.id);
    return queue.queue_running.some((item) =>
      attempts.some(({ promptId }) => promptId === item[1]),
    );
  };
  await until("the job runs in ComfyUI", isRunning, 30_000);
  return await strike(proxy);
}

async function recordOf(
  fault: RealFault,
  index: number,
  system: RealSystem,
  {
    job,
    tookMs,
    hasStruck,
  }: { readonly job: JobView; readonly tookMs: number; readonly hasStruck: boolean },
): Promise<FaultRecord> {
  const { rows } = await system.database.db.query<{ readonly plan: JobPlan | null }>(
    "select plan from jobs where id = $1",
    [job.id],
  );
  const attempts = await readAttempts(system, job.id);
  const declared = declaredGraph(fault.graph, rows[0]?.plan ?? null);
  const isCompleted = job.status === "completed";
  const pictures: PictureRecord[] = [];
  for (const output of isCompleted ? await system.client.outputs(job.id) : []) {
    const pixels = pixelsOf(await system.client.download(output));
    pictures.push({ nodeId: output.nodeId, ordinal: pictures.length, pixels });
  }
  return {
    index,
    kind: fault.kind.name,
    // What was to be met in the graph or the process shows as a failed attempt.
    hasStruck: hasStruck || attempts.some((attempt) => attempt.class !== null),
    state: job.status,
    errorClass: job.error?.class ?? null,
    isPoison: job.poison,
    tookMs,
    attempts,
    loss: job.changes?.loss ?? "none",
    steps: job.changes?.steps ?? [],
    pictures,
    expected: isCompleted ? await renderDirectly(declared) : [],
    changed: changedValues(fault.graph, declared),
    samplers: 0,
  };
}

async function readAttempts(system: RealSystem, id: string): Promise<readonly AttemptRecord[]> {
  const { rows } = await system.database.db.query<Omit<AttemptRecord, "samplersDone">>(
    `select coalesce(outcome, 'open') as outcome, error ->> 'class' as class,
       error ->> 'strategy' as strategy, coalesce(decision ->> 'rung', decision ->> 'rule') as rule, decision ->> 'action' as action,
       decision ->> 'reason' as reason
     from attempts where job_id = $1 order by number`,
    [id],
  );
  return rows.map((row) => ({ ...row, samplersDone: 0 }));
}

/** The picture without any fault: fault nodes only let it through, so they are left out. */
async function renderDirectly(graph: Graph): Promise<readonly PictureRecord[]> {
  const source = graph["1"];
  const prompt = {
    "1": source,
    "3": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "undisturbed" } },
  };
  const posted = await fetch(`${COMFYUI_URL}/prompt`, {
    method: "POST",
    body: JSON.stringify({ prompt }),
  });
  const { prompt_id: id } = (await posted.json()) as { readonly prompt_id: string };
  const images = await until("the undisturbed picture", async () => {
    const history = await fetch(`${COMFYUI_URL}/history/${id}`);
    const entry = ((await history.json()) as Readonly<Record<string, Entry>>)[id];
    return entry?.outputs["3"]?.images;
  });
  const pictures: PictureRecord[] = [];
  for (const [ordinal, file] of images.entries()) {
    const place = new URLSearchParams({ ...file }).toString();
    const png = Buffer.from(await (await fetch(`${COMFYUI_URL}/view?${place}`)).arrayBuffer());
    pictures.push({ nodeId: "3", ordinal, pixels: pixelsOf(png) });
  }
  return pictures;
}

interface Entry {
  readonly outputs: Readonly<
    Record<string, { readonly images?: readonly Readonly<Record<string, string>>[] }>
  >;
}
