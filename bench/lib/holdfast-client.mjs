/**
 * A client of Holdfast's API: submit, wait, list the outputs, fetch them. It waits by one event
 * stream for all its jobs, or by a held `/wait` for each.
 */
import { createCaller } from "./json-http.mjs";

const ENDS = "job.completed,job.failed,job.timeout,job.cancelled";

/** Connects; `waitBy` is "events" or "wait". */
export async function openHoldfastClient(url, waitBy = "events") {
  const caller = createCaller(url);
  const ends = waitBy === "events" ? await followEnds(caller) : undefined;
  const untilEnded = async (id) => {
    if (ends !== undefined) return await ends.of(id);
    for (;;) {
      const { status } = await caller.json("GET", `/api/v1/jobs/${id}/wait?timeoutMs=60000`);
      if (status !== "queued" && status !== "processing") return `job.${status}`;
    }
  };
  return {
    async submit(graph) {
      const { job } = await caller.json("POST", "/api/v1/jobs", { graph });
      return job.id;
    },
    async submitMany(graphs) {
      const body = { jobs: graphs.map((graph) => ({ graph })) };
      return (await caller.json("POST", "/api/v1/jobs", body)).jobs.map((job) => job.id);
    },
    untilEnded,
    async render(graph) {
      const id = await this.submit(graph);
      const end = await untilEnded(id);
      if (end !== "job.completed") throw new Error(`job ${id} ended with ${end}`);
      const { outputs } = await caller.json("GET", `/api/v1/jobs/${id}/outputs`);
      const sizes = [];
      for (const output of outputs) sizes.push((await caller.bytes(output.url)).byteLength);
      if (sizes.length === 0) throw new Error(`job ${id} gave no picture`);
      return sizes;
    },
    metrics: async () => await (await caller.stream("/metrics")).text(),
    async close() {
      ends?.close();
      await caller.close();
    },
  };
}

/** One event stream. An end may be told before the submit is answered: it is kept until asked for. */
async function followEnds(caller) {
  const body = await caller.stream(`/api/v1/events?types=${ENDS}`);
  const told = new Map();
  const waiting = new Map();
  let rest = "";
  body.setEncoding("utf8");
  body.on("error", () => undefined); // The stream is cut when the client closes.
  body.on("data", (chunk) => {
    const blocks = (rest + chunk).split("\n\n");
    rest = blocks.pop() ?? "";
    for (const block of blocks) {
      const line = /^data: (.*)$/m.exec(block);
      if (line === null) continue;
      const { type, data } = JSON.parse(line[1]);
      const resolve = waiting.get(data.jobId);
      waiting.delete(data.jobId);
      if (resolve === undefined) told.set(data.jobId, type);
      else resolve(type);
    }
  });
  return {
    of(id) {
      const type = told.get(id);
      told.delete(id);
      if (type !== undefined) return Promise.resolve(type);
      return new Promise((resolve) => waiting.set(id, resolve));
    },
    close: () => body.destroy(),
  };
}
