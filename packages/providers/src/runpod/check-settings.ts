/** Whether RunPod knows what the settings name. Asks its catalog, which costs nothing. */
import type { Provided } from "@holdfast/fleet";
import { z } from "zod";
import { nearNames } from "../near-names.ts";
import { ok, trouble } from "../provided.ts";
import { parseJson } from "./pod.ts";
import type { RunpodSettings } from "./settings.ts";

/** Names shown beside one that is not known. */
const NEAR_MAX = 3;

const count = z.number().nullish().catch(null);
const gpusSchema = z.object({
  gpus: z.array(
    z.object({
      id: z.string(),
      secure: z.boolean().nullish().catch(null),
      community: z.boolean().nullish().catch(null),
      maxCount: z.object({ secure: count, community: count }).nullish().catch(null),
    }),
  ),
});
type Gpu = z.output<typeof gpusSchema>["gpus"][number];
const dataCentersSchema = z.object({ dataCenters: z.array(z.object({ id: z.string() })) });
const volumeSchema = z.object({ dataCenter: z.string() });

type Get = (
  path: string,
  /** Statuses that are an answer too. */
  fine?: readonly number[],
) => Promise<Provided<{ readonly status: number; readonly body: string }>>;

/** Every finding in words, or the trouble that came between, a refused key; a wrong address is a finding. */
export async function checkSettings(
  settings: RunpodSettings,
  get: Get,
): Promise<Provided<readonly string[]>> {
  // The catalog may be shown to keys that may not list pods.
  const pods = await get("/pods?limit=1");
  if (pods.kind === "trouble") return findingOr(pods);
  const gpus = await read(get, "/catalog/gpus", gpusSchema);
  if (gpus.kind === "trouble") return findingOr(gpus);
  const centers = await read(get, "/catalog/datacenters", dataCentersSchema);
  if (centers.kind === "trouble") return findingOr(centers);
  const volume = await volumeFindings(settings, get);
  if (volume.kind === "trouble") return findingOr(volume);
  const centerIds = centers.value.dataCenters.map(({ id }) => id);
  return ok([
    ...settings.gpuTypes.flatMap((type) => gpuFinding(type, gpus.value.gpus, settings)),
    ...settings.dataCenters
      .filter((id) => !centerIds.includes(id))
      .map((id) => `\`dataCenters\`: RunPod has no ${id}${nearWords(id, centerIds)}`),
    ...volume.value,
  ]);
}

function gpuFinding(type: string, gpus: readonly Gpu[], settings: RunpodSettings): string[] {
  const gpu = gpus.find(({ id }) => id === type);
  if (gpu === undefined) {
    const ids = gpus.map(({ id }) => id);
    return [`\`gpuTypes\`: RunPod has no ${JSON.stringify(type)}${nearWords(type, ids)}`];
  }
  const cloud = settings.cloudType === "SECURE" ? "secure" : "community";
  if (gpu[cloud] === false) {
    return [`\`gpuTypes\`: RunPod has no ${type} in its ${cloud} cloud: change \`cloudType\``];
  }
  const most = gpu.maxCount?.[cloud] ?? null;
  if (most !== null && settings.gpuCount > most) {
    return [`\`gpuCount\`: RunPod has at most ${most} of ${type} in one machine`];
  }
  return [];
}

async function volumeFindings(
  settings: RunpodSettings,
  get: Get,
): Promise<Provided<readonly string[]>> {
  const { networkVolumeId: id, dataCenters } = settings;
  if (id === undefined) return ok([]);
  const asked = await get(`/network-volumes/${encodeURIComponent(id)}`, [404]);
  if (asked.kind === "trouble") return asked;
  if (asked.value.status === 404) return ok([`\`networkVolumeId\`: RunPod has no volume ${id}`]);
  const place = volumeSchema.safeParse(parseJson(asked.value.body)).data?.dataCenter;
  if (place === undefined || dataCenters.every((one) => one === place)) return ok([]);
  const words = `volume ${id} is in ${place}: expected no other data center in \`dataCenters\``;
  return ok([`\`networkVolumeId\`: ${words}`]);
}

async function read<T>(get: Get, path: string, schema: z.ZodType<T>): Promise<Provided<T>> {
  const asked = await get(path);
  if (asked.kind === "trouble") return asked;
  const { data } = schema.safeParse(parseJson(asked.value.body));
  if (data !== undefined) return ok(data);
  return trouble("unavailable", `RunPod's answer to ${path} could not be read: check \`baseUrl\``);
}

function findingOr(
  answer: Extract<Provided<unknown>, { kind: "trouble" }>,
): Provided<readonly string[]> {
  const { kind, message } = answer.trouble;
  return kind === "invalid" ? ok([message]) : answer;
}

function nearWords(name: string, known: readonly string[]): string {
  const near = nearNames(name, known, NEAR_MAX);
  return near.length === 0
    ? `; it has ${known.slice(0, 30).join(", ")}`
    : `; near it: ${near.join(", ")}`;
}
