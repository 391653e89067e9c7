import { fieldOf } from "../api/api-client.ts";

/** Where ComfyUI listens unless told otherwise. */
export const LOCAL_COMFYUI = "http://127.0.0.1:8188";
const LIMIT_MS = 1_000;

/** The address of a real ComfyUI on this machine's usual port, if one answers. Never throws. */
export async function findLocalComfy(): Promise<string | undefined> {
  try {
    const response = await fetch(`${LOCAL_COMFYUI}/system_stats`, {
      signal: AbortSignal.timeout(LIMIT_MS),
    });
    if (!response.ok || response.headers.has("x-holdfast-simulated")) return undefined;
    const version = fieldOf(fieldOf(await response.json(), "system"), "comfyui_version");
    return typeof version === "string" ? LOCAL_COMFYUI : undefined;
  } catch {
    return undefined;
  }
}
