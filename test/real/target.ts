/** The real ComfyUI that these tests run against, given by the environment. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { until } from "../support/processes.ts";

/** `http://127.0.0.1:8188`; empty when there is none. */
export const COMFYUI_URL = (process.env["HOLDFAST_TEST_COMFYUI_URL"] ?? "").replace(/\/+$/, "");

/**
 * A shell command that kills this ComfyUI with signal 9 and starts it again; it may end before
 * ComfyUI serves. Empty when nobody may do so.
 */
export const RESTART_COMMAND = process.env["HOLDFAST_TEST_COMFYUI_RESTART_COMMAND"] ?? "";

/** A loaded machine imports ComfyUI and its custom nodes in a minute (F12). */
const START_LIMIT_MS = 180_000;

/** Says once, where nobody overlooks it, what is left out and why. */
export function tellWhatIsSkipped(file: string, killsComfyUi = false): void {
  if (COMFYUI_URL === "") {
    console.warn(`${file}: SKIPPED, HOLDFAST_TEST_COMFYUI_URL names no real ComfyUI`);
  } else if (killsComfyUi && RESTART_COMMAND === "") {
    console.warn(
      `${file}: what kills ComfyUI is SKIPPED, HOLDFAST_TEST_COMFYUI_RESTART_COMMAND is not set`,
    );
  }
}

/** The first of these node classes that ComfyUI has; undefined when it has none. */
export async function firstKnownClass(names: readonly string[]): Promise<string | undefined> {
  const answer = await fetch(`${COMFYUI_URL}/object_info`);
  const classes = (await answer.json()) as Readonly<Record<string, unknown>>;
  return names.find((name) => name in classes);
}

/** The first checkpoint model that ComfyUI has; throws when it has none. */
export async function firstCheckpointModel(): Promise<string> {
  const answer = await fetch(`${COMFYUI_URL}/models/checkpoints`);
  const [name] = (await answer.json()) as readonly string[];
  if (name === undefined) throw new Error("this ComfyUI has no checkpoint model");
  return name;
}

/** Kills ComfyUI and starts it again; resolves when the new process serves. */
export async function restartComfyUi(): Promise<void> {
  await promisify(execFile)("sh", ["-c", RESTART_COMMAND]);
  await until("ComfyUI serves again", serves, START_LIMIT_MS);
}

async function serves(): Promise<boolean> {
  const answer = await fetch(`${COMFYUI_URL}/system_stats`, { signal: AbortSignal.timeout(5_000) });
  return answer.ok;
}

/** Whether prompts still run: what nothing but a prompt can tell (F26). */
export async function rendersWithin(limitMs: number): Promise<boolean> {
  const graph = {
    "1": { class_type: "EmptyImage", inputs: { width: 8, height: 8, batch_size: 1, color: 0 } },
    "2": { class_type: "PreviewImage", inputs: { images: ["1", 0] } },
  };
  const body = JSON.stringify({ prompt: graph });
  const posted = await fetch(`${COMFYUI_URL}/prompt`, { method: "POST", body });
  const { prompt_id: promptId } = (await posted.json()) as { readonly prompt_id: string };
  const isThere = async (): Promise<boolean> => {
    const history = await fetch(`${COMFYUI_URL}/history/${promptId}`);
    return promptId in ((await history.json()) as object);
  };
  return await until("a prompt ends", isThere, limitMs).catch(() => false);
}
