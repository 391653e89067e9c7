import { createComfyClient, type ComfyClient } from "@holdfast/comfyui";
import type { ControlPlaneSettings } from "@holdfast/control-plane/process";
import { systemClock } from "@holdfast/runtime/system";
import { createApiClient, serverAddress } from "../api/api-client.ts";
import { bytesText } from "../terminal/durations.ts";
import { findLocalComfy } from "../up/local-comfyui.ts";
import type { Finding } from "./finding.ts";

const TIMEOUTS = { connectMs: 3_000, requestMs: 10_000 };
/** Node classes that every ComfyUI has; their lack means that `/object_info` is not ComfyUI's. */
const CORE_CLASSES = ["KSampler", "CheckpointLoaderSimple", "SaveImage"];

/** Whether the server that client commands would talk to answers, and could start a job. */
export async function checkServer(
  settings: ControlPlaneSettings,
  env: Readonly<Record<string, string | undefined>>,
): Promise<Finding> {
  const url = env["HOLDFAST_URL"] ?? `http://127.0.0.1:${settings.port}`;
  const api = createApiClient(serverAddress({ url }, env));
  const answer = await api.request("/readyz");
  if (answer.kind === "answered") {
    return { name: "server", state: "ok", found: `${url} is ready for jobs` };
  }
  if (answer.kind === "refused") {
    return { name: "server", state: "warn", found: `${url} is not ready: ${answer.message}` };
  }
  return {
    name: "server",
    state: "ok",
    found: `none runs at ${url}`,
    fix: "start one with `holdfast up` when you want it",
  };
}

/** Asks each ComfyUI what it is and has; without any, whether one could be used. */
export async function checkComfyUI(urls: readonly string[]): Promise<readonly Finding[]> {
  if (urls.length > 0) return await Promise.all(urls.map(checkOne));
  const found = await findLocalComfy();
  const none = "none is named: renders go to a simulator";
  return [
    found === undefined
      ? { name: "ComfyUI", state: "ok", found: none }
      : { name: "ComfyUI", state: "ok", found: none, fix: `one answers: COMFYUI_URL=${found}` },
  ];
}

async function checkOne(url: string): Promise<Finding> {
  const name = `ComfyUI ${url}`;
  const client = createComfyClient({
    baseUrl: url,
    clientId: "holdfast-doctor",
    clock: systemClock,
    timeouts: TIMEOUTS,
  });
  try {
    return { name, ...(await examine(client)) };
  } finally {
    await client.close();
  }
}

async function examine(client: ComfyClient): Promise<Omit<Finding, "name">> {
  const stats = await client.systemStats();
  if (stats.kind !== "ok") {
    return {
      state: "fail",
      found: `/system_stats: ${troubleText(stats)}`,
      fix: "start ComfyUI there (--listen for other hosts), or correct COMFYUI_URL",
    };
  }
  const info = await client.objectInfo();
  if (info.kind !== "ok") {
    return { state: "fail", found: `/object_info: ${troubleText(info)}`, fix: "look at its log" };
  }
  const classes = Object.keys(info.objectInfo);
  const missing = CORE_CLASSES.filter((name) => !classes.includes(name));
  if (missing.length > 0) {
    return { state: "fail", found: `has no ${missing.join(", ")}`, fix: "is this a ComfyUI?" };
  }
  const queue = await client.queue();
  const devices = stats.stats.devices
    .map((device) => {
      const { vramFreeBytes: free, vramTotalBytes: total } = device;
      const memory =
        free === undefined || total === undefined
          ? ""
          : ` ${bytesText(free)} of ${bytesText(total)} free`;
      return `${device.name}${memory}`;
    })
    .join("; ");
  const waiting =
    queue.kind === "ok"
      ? `${queue.queue.running.length} running, ${queue.queue.pending.length} waiting`
      : "queue does not answer";
  const version = stats.stats.comfyuiVersion ?? "unknown version";
  return {
    state: queue.kind === "ok" ? "ok" : "warn",
    found: `${version}, ${classes.length} node classes, ${waiting}; ${devices}`,
  };
}

function troubleText(reply: { readonly kind: string }): string {
  return Object.values(reply)
    .filter((value) => typeof value === "string" || typeof value === "number")
    .join(" ");
}
