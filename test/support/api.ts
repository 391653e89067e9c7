/** The API as tests call it. */
import { createHash } from "node:crypto";
import type { AttemptView, JobView, OutputView } from "@holdfast/contract";

/** A small client that throws on every answer that is not 2xx. */
export function api(base: string, headers: Readonly<Record<string, string>> = {}) {
  const call = async <T>(method: string, path: string, body?: unknown): Promise<T> => {
    const answer = await fetch(`${base}${path}`, {
      method,
      headers: {
        ...headers,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(20_000),
    });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    return (await answer.json()) as T;
  };
  return {
    call,
    submit: async (graph: unknown, more: object = {}): Promise<JobView> =>
      (await call<{ job: JobView }>("POST", "/api/v1/jobs", { graph, ...more })).job,
    job: (id: string) => call<JobView>("GET", `/api/v1/jobs/${id}`),
    attempts: async (id: string) =>
      (await call<{ attempts: AttemptView[] }>("GET", `/api/v1/jobs/${id}/attempts`)).attempts,
    outputs: async (id: string) =>
      (await call<{ outputs: OutputView[] }>("GET", `/api/v1/jobs/${id}/outputs`)).outputs,
    /** Downloads an output and checks size and hash; returns the bytes. */
    async download(output: OutputView): Promise<Buffer> {
      const answer = await fetch(new URL(output.url, base), {
        headers,
        signal: AbortSignal.timeout(20_000),
      });
      if (!answer.ok) throw new Error(`${output.url}: ${answer.status}`);
      const bytes = Buffer.from(await answer.arrayBuffer());
      const sha256 = createHash("sha256").update(bytes).digest("hex");
      if (sha256 !== output.sha256 || bytes.length !== output.sizeBytes) {
        throw new Error(`output ${output.id} is not whole`);
      }
      return bytes;
    },
    isReady: async (): Promise<boolean> =>
      (await fetch(`${base}/readyz`, { headers, signal: AbortSignal.timeout(5_000) })).status ===
      200,
  };
}

/** A model-free graph of some seconds: `steps` sleeps, one picture. The simulator's node classes. */
export function sleepingGraph(seed: number, seconds: number) {
  return {
    "1": {
      class_type: "EmptyImage",
      inputs: { width: 64, height: 64, batch_size: 1, color: seed % 16_777_216 },
    },
    "2": { class_type: "HoldfastSleep", inputs: { image: ["1", 0], seconds, poll: true } },
    "3": { class_type: "SaveImage", inputs: { images: ["2", 0], filename_prefix: "picture" } },
  };
}

/** A model-free graph that takes no time. */
export function quickGraph(seed: number) {
  return {
    "1": {
      class_type: "EmptyImage",
      inputs: { width: 64, height: 64, batch_size: 1, color: seed % 16_777_216 },
    },
    "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "picture" } },
  };
}
