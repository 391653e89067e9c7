import { fieldOf } from "../api/api-client.ts";

/** Where ComfyUI listens unless told otherwise. */
const LOCAL_COMFYUI = "http://127.0.0.1:8188";
const LIMIT_MS = 3_000;

/** What answers at an address: a ComfyUI, a simulated one, or neither. Never throws. */
export async function askComfy(url: string): Promise<"real" | "simulated" | "nothing"> {
  try {
    const response = await fetch(`${url.replace(/\/+$/, "")}/system_stats`, {
      signal: AbortSignal.timeout(LIMIT_MS),
    });
    if (!response.ok) return "nothing";
    const version = fieldOf(fieldOf(await response.json(), "system"), "comfyui_version");
    if (typeof version !== "string") return "nothing";
    return response.headers.has("x-holdfast-simulated") ? "simulated" : "real";
  } catch {
    return "nothing";
  }
}

/** The address of a real ComfyUI on this machine's usual port, if one answers. Never throws. */
export async function findLocalComfy(): Promise<string | undefined> {
  return (await askComfy(LOCAL_COMFYUI)) === "real" ? LOCAL_COMFYUI : undefined;
}
