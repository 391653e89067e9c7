import type { Manifest } from "./model.ts";

/** What the name of an instance says. */
export type InstanceName =
  | { readonly kind: "gpu"; readonly index: number; readonly migIndex: number | null }
  | { readonly kind: "cpu"; readonly index: number };

/** Name of the instance of a GPU, or of one slice of it. */
export function gpuInstanceName(index: number, migIndex: number | null): string {
  return migIndex === null ? `comfyui-gpu${index}` : `comfyui-gpu${index}-mig${migIndex}`;
}

/** Name of an instance without a GPU. */
export function cpuInstanceName(index: number): string {
  return `comfyui-cpu${index}`;
}

/** Reads a name; undefined for one that no instance ever has. */
export function parseInstanceName(name: string): InstanceName | undefined {
  const match = /^comfyui-(?:gpu(0|[1-9]\d{0,4})(?:-mig(0|[1-9]\d{0,2}))?|cpu(0|[1-9]\d?))$/.exec(
    name,
  );
  if (match === null) return undefined;
  const [, gpu, mig, cpu] = match;
  if (gpu === undefined) return { kind: "cpu", index: Number(cpu) };
  return { kind: "gpu", index: Number(gpu), migIndex: mig === undefined ? null : Number(mig) };
}

/**
 * Why no machine can have an instance of this name under these settings; undefined when one could.
 * Which GPUs there are is not known here.
 */
export function whyImpossible(
  name: string,
  { gpus, cpu }: Pick<Manifest["instances"], "gpus" | "cpu">,
): string | undefined {
  const parsed = parseInstanceName(name);
  if (parsed === undefined) {
    return "expected a name like comfyui-gpu0, comfyui-gpu0-mig1 or comfyui-cpu0";
  }
  if (parsed.kind === "cpu") {
    const most = cpu === "auto" ? 1 : cpu;
    if (parsed.index < most) return undefined;
    return `with \`instances.cpu: ${cpu}\` there is at most ${most} instance without a GPU`;
  }
  if (gpus === "none") return "`instances.gpus` is none";
  if (!Array.isArray(gpus)) return undefined;
  // A UUID may be that of any index.
  const isPossible = gpus.some((one) => typeof one === "string" || one === parsed.index);
  return isPossible ? undefined : `\`instances.gpus\` does not name GPU ${parsed.index}`;
}
