import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { systemClock } from "@holdfast/runtime/system";
import { afterEach, beforeEach, expect, test } from "vitest";
import { endedEntry, startFakeComfy, type FakeComfy } from "../testing/fake-comfyui.ts";
import { createComfyClient, type ComfyClient, type ComfyClientOptions } from "./client.ts";

const graph = { "9": { class_type: "SaveImage", inputs: { images: [] } } };
let fake: FakeComfy;
const clients: ComfyClient[] = [];

function clientFor(options: Partial<ComfyClientOptions> = {}): ComfyClient {
  const client = createComfyClient({
    baseUrl: fake.url,
    clientId: "c1",
    clock: systemClock,
    resubmit: {
      maxPosts: 3,
      maxLookups: 3,
      backoff: { initialMs: 1, factor: 1, maxMs: 1, jitter: 0 },
    },
    ...options,
  });
  clients.push(client);
  return client;
}

beforeEach(async () => {
  fake = await startFakeComfy();
});

afterEach(async () => {
  for (const client of clients.splice(0)) await client.close();
  await fake.close();
});

test("a submission carries id, client and extra data, and is accepted once", async () => {
  const outcome = await clientFor().submitOnce({ promptId: "p1", graph, extraData: { a: 1 } });
  expect(outcome).toMatchObject({ kind: "accepted", promptId: "p1", via: "answer", number: 1 });
  expect(JSON.parse(fake.seen[0]?.body.toString() ?? "")).toEqual({
    prompt: graph,
    prompt_id: "p1",
    client_id: "c1",
    extra_data: { a: 1 },
  });
  expect(fake.seen).toHaveLength(1);
});

test.each(["queue_then_reset", "queue_then_500", "half_body"] as const)(
  "a POST that ends in %s is found by its id and not posted again",
  async (behaviour) => {
    fake.behaviours.push(behaviour);
    const outcome = await clientFor().submitOnce({ promptId: "p1", graph });
    expect(outcome).toMatchObject({ kind: "accepted", via: "lookup", outputs: ["9"] });
    expect(fake.countOf("POST", "/prompt")).toBe(1);
    expect(fake.pending).toEqual(["p1"]);
  },
);

test("a plain submit says that it does not know", async () => {
  fake.behaviours.push("queue_then_reset", "500", "not_json");
  const client = clientFor();
  expect(await client.submit({ promptId: "p1", graph })).toMatchObject({
    kind: "ambiguous",
    cause: { kind: "unreachable", sent: true },
  });
  expect(await client.submit({ promptId: "p2", graph })).toMatchObject({
    kind: "ambiguous",
    cause: { kind: "http", status: 500 },
  });
  expect(await client.submit({ promptId: "p3", graph })).toMatchObject({
    kind: "ambiguous",
    cause: { kind: "malformed" },
  });
});

test("a POST that never arrived is posted again, after two looks", async () => {
  fake.behaviours.push("reset");
  const outcome = await clientFor().submitOnce({ promptId: "p1", graph });
  expect(outcome).toMatchObject({ kind: "accepted", via: "answer" });
  expect(fake.seen.map((r) => `${r.method} ${r.path}`)).toEqual([
    "POST /prompt",
    "GET /queue",
    "GET /history/p1",
    "GET /queue",
    "GET /history/p1",
    "POST /prompt",
  ]);
});

test("a prompt that finished meanwhile is found in the history", async () => {
  fake.behaviours.push("reset");
  fake.history.set("p1", endedEntry("p1", "execution_success"));
  const outcome = await clientFor().submitOnce({ promptId: "p1", graph });
  expect(outcome).toMatchObject({ kind: "accepted", via: "lookup" });
  expect(fake.countOf("POST", "/prompt")).toBe(1);
});

test("a silent POST times out and is then found", async () => {
  fake.behaviours.push("silence");
  const client = clientFor({ timeouts: { submitMs: 100 } });
  expect(await client.submitOnce({ promptId: "p1", graph })).toMatchObject({
    kind: "accepted",
    via: "lookup",
  });
  expect(fake.pending).toEqual(["p1"]);
});

test("the same body answered 500 twice is the body's fault", async () => {
  fake.behaviours.push("500", "500", "500");
  const outcome = await clientFor().submitOnce({ promptId: "p1", graph });
  expect(outcome).toMatchObject({ kind: "rejected", rejection: { kind: "bad_request_500" } });
  expect(fake.countOf("POST", "/prompt")).toBe(2);
});

test("a gateway's 502 is no verdict on the body, however often it comes", async () => {
  fake.behaviours.push("502", "502", "502");
  const outcome = await clientFor().submitOnce({ promptId: "p1", graph });
  expect(outcome).toMatchObject({ kind: "ambiguous", cause: { kind: "http", status: 502 } });
  expect(fake.countOf("POST", "/prompt")).toBe(3);
});

test("a refused graph is not posted again", async () => {
  fake.behaviours.push("400");
  const outcome = await clientFor().submitOnce({ promptId: "p1", graph });
  expect(outcome).toMatchObject({
    kind: "rejected",
    rejection: { kind: "invalid_graph", type: "prompt_no_outputs" },
  });
  expect(fake.countOf("POST", "/prompt")).toBe(1);
});

test("an id that may have been posted before is looked for first", async () => {
  fake.running.push("p1");
  const client = clientFor();
  expect(await client.submitOnce({ promptId: "p1", graph }, { lookFirst: true })).toMatchObject({
    kind: "accepted",
    via: "lookup",
  });
  expect(fake.countOf("POST", "/prompt")).toBe(0);
  expect(await client.submitOnce({ promptId: "p2", graph }, { lookFirst: true })).toMatchObject({
    via: "answer",
  });
});

test("while the look-up fails nothing is posted again", async () => {
  fake.behaviours.push("reset");
  fake.handler = (request, response) => {
    if (request.url !== "/queue") return false;
    response.writeHead(503).end();
    return true;
  };
  expect(await clientFor().submitOnce({ promptId: "p1", graph })).toMatchObject({
    kind: "ambiguous",
  });
  expect(fake.countOf("POST", "/prompt")).toBe(1);
  expect(fake.countOf("GET", "/queue")).toBe(3);
});

test("nobody listening means that nothing was sent", async () => {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, "close");
  const client = clientFor({ baseUrl: `http://127.0.0.1:${port}` });
  expect(await client.submitOnce({ promptId: "p1", graph })).toMatchObject({
    kind: "not_sent",
    cause: { code: "ECONNREFUSED", sent: false },
  });
  expect(await client.queue()).toMatchObject({
    kind: "unreachable",
    code: "ECONNREFUSED",
    sent: false,
  });
});

test("an abort rejects with its reason and ends a silent call", async () => {
  fake.behaviours.push("silence");
  const abort = new AbortController();
  const call = clientFor().submitOnce({ promptId: "p1", graph }, { signal: abort.signal });
  abort.abort(new Error("shutting down"));
  await expect(call).rejects.toThrow("shutting down");
});

test("trouble of reading calls comes back as data", async () => {
  const client = clientFor({ maxAnswerBytes: 1000, timeouts: { requestMs: 100 } });
  const answers: Record<string, (end: (status: number, body: string) => void) => void> = {
    "/system_stats": (end) => end(200, "<html>"),
    "/object_info": (end) => end(200, JSON.stringify({ A: "x".repeat(5000) })),
    "/queue": (end) => end(503, "busy"),
    "/history/p1": () => undefined,
    "/history/p2": (end) => end(200, "[]"),
  };
  fake.handler = (request, response) => {
    const answer = answers[request.url ?? ""];
    answer?.((status, body) => void response.writeHead(status).end(body));
    return answer !== undefined;
  };
  expect(await client.systemStats()).toMatchObject({ kind: "malformed" });
  expect(await client.objectInfo()).toMatchObject({
    kind: "malformed",
    message: expect.stringContaining("1000"),
  });
  expect(await client.queue()).toEqual({ kind: "http", status: 503, body: "busy" });
  expect(await client.history("p1")).toEqual({ kind: "timeout", afterMs: 100 });
  expect(await client.history("p2")).toMatchObject({ kind: "malformed" });
  expect(await client.history("p3")).toEqual({ kind: "ok", entry: undefined });
});

test("history and its list are read, ids are escaped, entries deleted", async () => {
  const client = clientFor();
  fake.history.set("a/b c", endedEntry("a/b c", "execution_success"));
  expect(await client.history("a/b c")).toMatchObject({
    kind: "ok",
    entry: { status: { kind: "success" } },
  });
  expect(await client.historyList(5)).toMatchObject({
    kind: "ok",
    entries: [{ promptId: "a/b c" }],
  });
  expect(await client.deleteHistory(["x"])).toEqual({ kind: "ok" });
  expect(await client.free({ unloadModels: true, freeMemory: false })).toEqual({ kind: "ok" });
  expect(fake.seen.at(-1)?.body.toString()).toBe('{"unload_models":true,"free_memory":false}');
});

test("a pending prompt is removed, a running one interrupted, and both are confirmed", async () => {
  const client = clientFor();
  fake.pending.push("p1", "other");
  expect(await client.cancelPrompt("p1", { confirmWithinMs: 5_000 })).toEqual({
    kind: "cancelled",
    entry: undefined,
  });
  expect(fake.pending).toEqual(["other"]);
  fake.running.push("p2");
  expect(await client.cancelPrompt("p2", { confirmWithinMs: 5_000 })).toMatchObject({
    kind: "cancelled",
    entry: { status: { kind: "interrupted" } },
  });
  expect(JSON.parse(fake.seen.find((r) => r.path === "/interrupt")?.body.toString() ?? "")).toEqual(
    { prompt_id: "p2" },
  );
});

test("a prompt that starts while it is being removed is interrupted next", async () => {
  fake.pending.push("p1");
  fake.handler = (request) => {
    if (request.method === "POST" && request.url === "/queue" && fake.pending.length > 0) {
      fake.pending.length = 0;
      fake.running.push("p1");
    }
    return false;
  };
  expect(await clientFor().cancelPrompt("p1", { confirmWithinMs: 5_000 })).toMatchObject({
    kind: "cancelled",
  });
  expect(fake.countOf("POST", "/interrupt")).toBe(1);
});

test("a node that does not listen is told as still running", async () => {
  fake.running.push("p1");
  fake.handler = (request, response) => {
    if (request.url !== "/interrupt") return false;
    response.end();
    return true;
  };
  expect(await clientFor().cancelPrompt("p1", { confirmWithinMs: 300 })).toEqual({
    kind: "still_running",
  });
});

test("a prompt that ended by itself is finished, with its entry", async () => {
  fake.history.set("p1", endedEntry("p1", "execution_success"));
  expect(await clientFor().cancelPrompt("p1", { confirmWithinMs: 0 })).toMatchObject({
    kind: "finished",
    entry: { promptId: "p1" },
  });
  expect(await clientFor().cancelPrompt("p1", { confirmWithinMs: 0 })).toMatchObject({
    kind: "finished",
  });
});

test("an instance that is gone cannot confirm", async () => {
  const client = clientFor();
  await fake.close();
  expect(await client.cancelPrompt("p1", { confirmWithinMs: 0 })).toMatchObject({
    kind: "unreachable",
    cause: { code: "ECONNREFUSED" },
  });
  fake = await startFakeComfy();
});

async function readAll(body: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return Buffer.concat(chunks);
}

test("a file comes as a stream with its size and type, a missing one as missing", async () => {
  const bytes = Buffer.alloc(3_000_000, 7);
  fake.handler = (request, response) => {
    const url = new URL(request.url ?? "", fake.url);
    if (url.pathname !== "/view") return false;
    if (url.searchParams.get("filename") !== "a b&c.png") response.writeHead(404).end();
    else
      response
        .writeHead(200, { "content-type": "image/png", "content-length": bytes.length })
        .end(bytes);
    return true;
  };
  const client = clientFor();
  const ref = { filename: "a b&c.png", subfolder: "x/y", type: "output" };
  const file = await client.view(ref);
  expect(file).toMatchObject({ kind: "file", contentType: "image/png", sizeBytes: 3_000_000 });
  if (file.kind !== "file") throw new Error("no file");
  expect((await readAll(file.body)).equals(bytes)).toBe(true);
  expect(fake.seen.at(-1)?.path).toContain("subfolder=x%2Fy&type=output");
  expect(await client.view({ ...ref, filename: "gone.png" })).toEqual({ kind: "missing" });
});

test("a file that breaks off, or whose reading is aborted, throws while it is read", async () => {
  fake.handler = (_request, response) => {
    response.writeHead(200, { "content-length": "100" });
    response.write("half", () => setImmediate(() => response.destroy()));
    return true;
  };
  const ref = { filename: "a", subfolder: "", type: "output" };
  const broken = await clientFor().view(ref);
  if (broken.kind !== "file") throw new Error("no file");
  await expect(readAll(broken.body)).rejects.toThrow(/other side closed|terminated|aborted/);

  fake.handler = (_request, response) => {
    response.writeHead(200, { "content-length": "100" });
    response.write("half");
    return true;
  };
  const abort = new AbortController();
  const slow = await clientFor().view(ref, abort.signal);
  if (slow.kind !== "file") throw new Error("no file");
  const reading = readAll(slow.body);
  abort.abort();
  await expect(reading).rejects.toThrow("aborted");
});

test("other answers to a view are told with their status", async () => {
  fake.handler = (_request, response) => {
    response.writeHead(403).end("no");
    return true;
  };
  expect(await clientFor().view({ filename: "a", subfolder: "..", type: "output" })).toEqual({
    kind: "http",
    status: 403,
    body: "no",
  });
});

function acceptUploads(answerName: (name: string) => string): void {
  fake.handler = (request, response, body) => {
    if (request.url !== "/upload/image") return false;
    const text = body.toString("latin1");
    const name = Buffer.from(/filename="([^"]*)"/.exec(text)?.[1] ?? "", "latin1").toString("utf8");
    const subfolder = /name="subfolder"\r\n\r\n([^\r]*)/.exec(text)?.[1] ?? "";
    response.end(JSON.stringify({ name: answerName(name), subfolder, type: "input" }));
    return true;
  };
}

const sha = (data: Buffer): string => createHash("sha256").update(data).digest("hex");

test("an upload of bytes or of a stream arrives whole, and its reference is told", async () => {
  acceptUploads((name) => name);
  const client = clientFor();
  const bytes = Buffer.from(Array.from({ length: 200_000 }, (_, i) => i % 251));
  const streamed = async function* (): AsyncGenerator<Uint8Array> {
    for (let i = 0; i < bytes.length; i += 50_000) yield bytes.subarray(i, i + 50_000);
  };
  for (const content of [
    { bytes },
    { stream: streamed(), sizeBytes: bytes.length },
    { stream: streamed() },
  ]) {
    const outcome = await client.uploadInput({
      content,
      name: "fäce (1).png",
      subfolder: "job/a1",
      overwrite: true,
    });
    expect(outcome).toEqual({
      kind: "uploaded",
      name: "fäce (1).png",
      subfolder: "job/a1",
      reference: "job/a1/fäce (1).png",
    });
    const { body, headers } = fake.seen.at(-1) ?? { body: Buffer.alloc(0), headers: {} };
    const boundary = String(headers["content-type"]).split("boundary=")[1] ?? "";
    const start = body.indexOf("\r\n\r\n", body.indexOf("filename=")) + 4;
    const end = body.lastIndexOf(`\r\n--${boundary}--`);
    expect(sha(body.subarray(start, end))).toBe(sha(bytes));
    expect(body.toString("latin1")).toContain('name="overwrite"\r\n\r\ntrue');
  }
});

test("a name that ComfyUI changed is told without overwrite, and an error with it", async () => {
  acceptUploads(() => "a (1).png");
  const client = clientFor();
  const upload = { content: { bytes: Buffer.from("x") }, name: "a.png", subfolder: "" };
  expect(await client.uploadInput({ ...upload, overwrite: false })).toMatchObject({
    kind: "uploaded",
    reference: "a (1).png",
  });
  expect(await client.uploadInput({ ...upload, overwrite: true })).toMatchObject({
    kind: "malformed",
  });
});

test.each([
  ["../a.png", ""],
  ["a/b.png", ""],
  ["a\\b.png", ""],
  ['a".png', ""],
  ["", ""],
  ["..", ""],
  ["a\n.png", ""],
  ["a.png", "../x"],
  ["a.png", "/abs"],
  ["a.png", "x//y"],
  ["a.png", "C:\\x"],
])("the name %j in %j is not sent at all", async (name, subfolder) => {
  const outcome = await clientFor().uploadInput({
    content: { bytes: Buffer.from("x") },
    name,
    subfolder,
    overwrite: true,
  });
  expect(outcome).toMatchObject({ kind: "bad_name" });
  expect(fake.seen).toHaveLength(0);
});

async function* breakingStream(): AsyncGenerator<Uint8Array> {
  yield Buffer.from("x");
  throw new Error("disk gone");
}

test("an upload that is refused is told with its status, one whose source breaks as unreachable", async () => {
  fake.handler = (_request, response) => {
    response.writeHead(413).end("too large");
    return true;
  };
  const upload = { name: "a.png", subfolder: "", overwrite: true };
  expect(
    await clientFor().uploadInput({ ...upload, content: { bytes: Buffer.from("x") } }),
  ).toMatchObject({ kind: "http", status: 413 });
  expect(
    await clientFor().uploadInput({ ...upload, content: { stream: breakingStream() } }),
  ).toMatchObject({ kind: "unreachable", message: "disk gone" });
});

test("the metadata of a model file is asked for by folder and name; none and broken are told apart", async () => {
  fake.handler = (request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? "", fake.url);
    if (pathname !== "/view_metadata/loras") return false;
    const name = searchParams.get("filename");
    if (name === "none.safetensors") response.writeHead(404).end();
    else if (name === "broken.safetensors")
      response.writeHead(500).end("500 Internal Server Error");
    else if (name === "huge.safetensors") response.end("x".repeat(7 * 1024 * 1024));
    else response.end(JSON.stringify({ ss_base_model_version: name }));
    return true;
  };
  const client = clientFor();
  expect(await client.modelMetadata("loras", "a/b & c.safetensors")).toMatchObject({
    kind: "ok",
    metadata: { baseModel: "a/b & c.safetensors" },
  });
  expect(await client.modelMetadata("loras", "none.safetensors")).toEqual({
    kind: "ok",
    metadata: undefined,
  });
  expect(await client.modelMetadata("loras", "broken.safetensors")).toMatchObject({
    kind: "http",
    status: 500,
  });
  expect(await client.modelMetadata("loras", "huge.safetensors")).toMatchObject({
    kind: "malformed",
  });
});

test("the sizes of a folder's files are those of its list; a version without one says so", async () => {
  const client = clientFor();
  expect(await client.modelSizes("loras")).toMatchObject({ kind: "http", status: 404 });
  fake.handler = (_request, response) => {
    response.end(JSON.stringify([{ name: "a.safetensors", size: 7 }]));
    return true;
  };
  expect(await client.modelSizes("loras")).toEqual({
    kind: "ok",
    sizes: new Map([["a.safetensors", 7]]),
  });
});
