import { parseGraph } from "@holdfast/comfyui/protocol";
import { HoldfastError } from "@holdfast/contract";

/**
 * Recognises the bodies that people send instead of a submit request, before the schema refuses them
 * in general words: a graph by itself, ComfyUI's own `{prompt: …}`, a workflow of the editor, a
 * `graph` that is no object. Throws the error that tells what to send; returns for everything else.
 */
export function refuseMistakenBody(body: unknown): void {
  if (!isRecord(body)) return;
  if (Object.hasOwn(body, "jobs")) {
    const { jobs } = body;
    if (Array.isArray(jobs)) jobs.forEach((job: unknown) => refuseMistakenJob(job));
    return;
  }
  refuseMistakenJob(body);
}

const WRAP_IT =
  'send it as {"graph": {…}}, or {"jobs": [{"graph": {…}}, …]} for many; `holdfast submit FILE` does it for you';

function refuseMistakenJob(job: unknown): void {
  if (!isRecord(job)) return;
  if (Object.hasOwn(job, "graph")) {
    const { graph } = job;
    if (isRecord(graph)) return;
    const parsed = parseGraph(graph);
    if (parsed.kind === "refused") throw new HoldfastError("graph_not_object", parsed.message);
    return;
  }
  const { prompt } = job;
  if (isRecord(prompt) && parseGraph(prompt).kind === "graph") {
    throw new HoldfastError("invalid_request", `"prompt" is ComfyUI's own request: ${WRAP_IT}`);
  }
  const parsed = parseGraph(job);
  if (parsed.kind === "graph") {
    throw new HoldfastError("invalid_request", `the body is a graph by itself: ${WRAP_IT}`);
  }
  if (parsed.code === "graph_editor_format") {
    throw new HoldfastError("graph_editor_format", parsed.message);
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
