/** The client against a real ComfyUI. */
import { randomUUID } from "node:crypto";
import {
  createComfyClient,
  createComfySocket,
  type ComfyClient,
  type SocketEvent,
} from "@holdfast/comfyui";
import {
  collectOutputFiles,
  prefixOutputs,
  type Graph,
  type HistoryEntry,
} from "@holdfast/comfyui/protocol";
import { systemClock } from "@holdfast/runtime/system";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { until } from "../support/processes.ts";
import { COMFYUI_URL, firstKnownClass, tellWhatIsSkipped } from "./target.ts";
import { startTcpProxy, type TcpProxy } from "./tcp-proxy.ts";

tellWhatIsSkipped("real/comfyui-client");

/** A graph of one flat picture; the colour keeps it out of the cache. */
function picture(prefix: string, color = Math.floor(Math.random() * 0xffffff)): Graph {
  return {
    "1": { class_type: "EmptyImage", inputs: { width: 32, height: 32, batch_size: 1, color } },
    "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: prefix } },
  };
}

describe.skipIf(COMFYUI_URL === "")("the client and a real ComfyUI", () => {
  const clients: ComfyClient[] = [];
  let proxy: TcpProxy | undefined;
  let sleeper: string | undefined;
  let client: ComfyClient;

  beforeAll(async () => {
    sleeper = await firstKnownClass(["HoldfastSleep", "FaultSleep"]);
    if (sleeper === undefined) {
      console.warn("real/comfyui-client: SKIPPED where a node must sleep, ComfyUI has none");
    }
    client = createComfyClient({
      baseUrl: COMFYUI_URL,
      clientId: randomUUID(),
      clock: systemClock,
    });
    clients.push(client);
  });
  afterEach(async () => {
    await proxy?.close();
    proxy = undefined;
  });
  afterAll(async () => {
    for (const each of clients) await each.close();
  });

  const throughProxy = async (): Promise<ComfyClient> => {
    proxy = await startTcpProxy(COMFYUI_URL);
    const made = createComfyClient({
      baseUrl: proxy.url,
      clientId: randomUUID(),
      clock: systemClock,
      resubmit: { backoff: { initialMs: 50, factor: 2, maxMs: 500, jitter: 0 } },
    });
    clients.push(made);
    return made;
  };
  const ended = (promptId: string): Promise<HistoryEntry> =>
    until(`prompt ${promptId} ends`, async () => {
      const reply = await client.history(promptId);
      return reply.kind === "ok" ? reply.entry : undefined;
    });
  const sleeping = (seconds: number, poll = true): Graph => {
    const made = picture(`sleep-${randomUUID()}`);
    return {
      ...made,
      "2": { class_type: "SaveImage", inputs: { ...made["2"]?.inputs, images: ["3", 0] } },
      "3": { class_type: sleeper ?? "", inputs: { image: ["1", 0], seconds, poll } },
    };
  };
  const start = async (graph: Graph): Promise<string> => {
    const promptId = randomUUID();
    expect((await client.submitOnce({ promptId, graph })).kind).toBe("accepted");
    return promptId;
  };
  const runs = async (promptId: string): Promise<boolean> =>
    (await client.lookUp(promptId)).kind === "running";

  describe("submitting", () => {
    it("a prompt runs once under our id, and its outputs are in folders of their own", async () => {
      const promptId = randomUUID();
      const { graph, prefixed } = prefixOutputs(picture("deep/name"), `hf/${promptId}/1`);
      expect(prefixed).toEqual(["2"]);
      const outcome = await client.submitOnce({ promptId, graph });
      expect(outcome).toMatchObject({ kind: "accepted", promptId, nodeErrors: [], via: "answer" });
      const entry = await ended(promptId);
      expect(entry.status).toEqual({ kind: "success" });
      expect(entry.executedOutputs).toEqual(["2"]);
      const [file] = collectOutputFiles(entry.outputs["2"]).files;
      expect(file).toEqual({
        filename: "name_00001_.png",
        subfolder: `hf/${promptId}/1/deep`,
        type: "output",
        key: "images",
      });
    });

    it.each(["after_request", "at_answer", "mid_request"] as const)(
      "a POST whose connection is cut %s runs exactly once",
      async (point) => {
        const cutting = await throughProxy();
        const promptId = randomUUID();
        const prefix = `cut-${promptId}`;
        const cut = proxy?.cutAtNextPrompt(point);
        const outcome = await cutting.submitOnce({ promptId, graph: picture(prefix) });
        await cut;
        expect(outcome).toMatchObject({
          kind: "accepted",
          promptId,
          via: point === "mid_request" ? "answer" : "lookup",
        });
        await ended(promptId);
        // A second run would have written the next number.
        const view = (number: number) =>
          client.view({ filename: `${prefix}_0000${number}_.png`, subfolder: "", type: "output" });
        const first = await view(1);
        expect(first.kind).toBe("file");
        if (first.kind === "file") for await (const chunk of first.body) void chunk;
        await new Promise((resolve) => setTimeout(resolve, 300));
        expect((await view(2)).kind).toBe("missing");
      },
    );

    it("one POST alone, cut, is ambiguous and never called lost", async () => {
      const cutting = await throughProxy();
      const promptId = randomUUID();
      void proxy?.cutAtNextPrompt("after_request");
      const outcome = await cutting.submit({ promptId, graph: picture(`one-${promptId}`) });
      expect(outcome.kind).toBe("ambiguous");
      expect((await ended(promptId)).status.kind).toBe("success");
    });

    it("nobody there is not_sent, and a look at an unknown prompt says absent", async () => {
      const gone = await throughProxy();
      await proxy?.close();
      const outcome = await gone.submitOnce({ promptId: randomUUID(), graph: picture("gone") });
      expect(outcome.kind).toBe("not_sent");
      expect((await client.lookUp(randomUUID())).kind).toBe("absent");
    });

    it("an id that was posted in an earlier life is found before it is posted again", async () => {
      const promptId = await start(picture(`earlier-${randomUUID()}`));
      await ended(promptId);
      const again = await client.submitOnce(
        { promptId, graph: picture("earlier") },
        { lookFirst: true },
      );
      expect(again).toMatchObject({ kind: "accepted", via: "lookup", outputs: ["2"] });
    });

    it("a graph that is refused says why; one with a dropped output names it (F2, F5)", async () => {
      const refused = await client.submitOnce({
        promptId: randomUUID(),
        graph: { ...picture("x"), "1": { class_type: "EmptyImage", inputs: { width: 0 } } },
      });
      expect(refused.kind).toBe("rejected");
      const partly = await client.submitOnce({
        promptId: randomUUID(),
        graph: {
          ...picture(`partly-${randomUUID()}`),
          "3": { class_type: "LoadImage", inputs: { image: "no-such.png" } },
          "4": { class_type: "PreviewImage", inputs: { images: ["3", 0] } },
        },
      });
      expect(partly).toMatchObject({ kind: "accepted", nodeErrors: [{ nodeId: "3" }] });
    });
  });

  describe("cancelling", () => {
    it("a pending prompt is taken out, a running one interrupted, both confirmed", async (context) => {
      if (sleeper === undefined) context.skip();
      const running = await start(sleeping(30));
      const pending = await start(picture(`pending-${randomUUID()}`));
      await until("it runs", () => runs(running));
      expect((await client.lookUp(pending)).kind).toBe("queued");
      const limits = { confirmWithinMs: 10_000 };
      expect(await client.cancelPrompt(pending, limits)).toEqual({
        kind: "cancelled",
        entry: undefined,
      });
      const stopped = await client.cancelPrompt(running, limits);
      expect(stopped).toMatchObject({
        kind: "cancelled",
        entry: { status: { kind: "interrupted" } },
      });
      expect((await client.lookUp(pending)).kind).toBe("absent");
    });

    it("a node that does not listen is still_running, and then finished (F13)", async (context) => {
      if (sleeper === undefined) context.skip();
      const promptId = await start(sleeping(2, false));
      await until("it runs", () => runs(promptId));
      // It counts as running some time before its node begins; until then it still listens.
      await new Promise((resolve) => setTimeout(resolve, 500));
      const early = await client.cancelPrompt(promptId, { confirmWithinMs: 300 });
      expect(early.kind).toBe("still_running");
      const late = await client.cancelPrompt(promptId, { confirmWithinMs: 15_000 });
      expect(late.kind).toBe("cancelled");
    });

    it("what has ended stays finished, and what nobody knows counts as cancelled", async () => {
      const promptId = await start(picture(`done-${randomUUID()}`));
      await ended(promptId);
      const limits = { confirmWithinMs: 1_000 };
      expect((await client.cancelPrompt(promptId, limits)).kind).toBe("finished");
      expect((await client.cancelPrompt(randomUUID(), limits)).kind).toBe("cancelled");
    });
  });

  describe("files and history", () => {
    it("an upload comes back byte by byte, and overwrites or not as told (F18)", async () => {
      const bytes = new Uint8Array(300_000).map((_, index) => index % 251);
      const name = `${randomUUID()}.bin`;
      const upload = { name, subfolder: "a/b", overwrite: false };
      const first = await client.uploadInput({ ...upload, content: { bytes } });
      expect(first).toMatchObject({ kind: "uploaded", reference: `a/b/${name}` });
      const other = await client.uploadInput({
        ...upload,
        content: { bytes: bytes.map((byte) => byte ^ 1) },
      });
      expect(other).toMatchObject({ kind: "uploaded", name: name.replace(".bin", " (1).bin") });
      async function* streamed(): AsyncGenerator<Uint8Array> {
        yield bytes.subarray(0, 7);
        yield bytes.subarray(7, 100);
      }
      const over = await client.uploadInput({
        ...upload,
        overwrite: true,
        content: { stream: streamed(), sizeBytes: 100 },
      });
      expect(over).toMatchObject({ kind: "uploaded", name });
      const view = await client.view({ filename: name, subfolder: "a/b", type: "input" });
      if (view.kind !== "file") throw new Error(view.kind);
      const parts: Uint8Array[] = [];
      for await (const part of view.body) parts.push(part);
      expect(view.sizeBytes).toBe(100);
      expect(Buffer.concat(parts).equals(Buffer.from(bytes.subarray(0, 100)))).toBe(true);
    });

    it("history is listed, found, and forgotten when deleted (F9)", async () => {
      const promptId = await start(picture(`history-${randomUUID()}`));
      await ended(promptId);
      const listed = await client.historyList(5);
      expect(listed.kind === "ok" && listed.entries.map((entry) => entry.promptId)).toContain(
        promptId,
      );
      expect((await client.deleteHistory([promptId])).kind).toBe("ok");
      expect(await client.history(promptId)).toEqual({ kind: "ok", entry: undefined });
    });

    it("stats and free are understood", async () => {
      const reply = await client.systemStats();
      expect(reply.kind === "ok" && reply.stats.devices.length).toBeGreaterThan(0);
      expect((await client.free({ unloadModels: true, freeMemory: true })).kind).toBe("ok");
    });
  });

  describe("the socket", () => {
    it("cut mid-run, it comes back, is told what runs, and hears the end (F7, F8)", async (context) => {
      if (sleeper === undefined) context.skip();
      const behind = await throughProxy();
      const events: SocketEvent[] = [];
      const socket = createComfySocket({
        baseUrl: behind.baseUrl,
        clientId: behind.clientId,
        clock: systemClock,
        settleMs: 300,
        onEvent: (event) => events.push(event),
      });
      socket.start();
      try {
        await until("it is open", () => socket.state() === "open");
        const promptId = randomUUID();
        await behind.submitOnce({ promptId, graph: sleeping(2.5) });
        const executing = (node: string | undefined, from = 0): boolean =>
          events
            .slice(from)
            .some(
              ({ kind, ...event }) =>
                kind === "message" &&
                "message" in event &&
                event.message.kind === "executing" &&
                event.message.nodeId === node,
            );
        await until("the node runs", () => executing("3"));
        const cutAt = events.length;
        expect(proxy?.cutAll()).toBeGreaterThan(0);
        await until("the socket noticed", () => events.length > cutAt);
        await until("it is told what runs", () => executing("3", cutAt));
        await until("it hears the end", () => executing(undefined, cutAt));
        expect((await ended(promptId)).status.kind).toBe("success");
        const closed = events.find((event) => event.kind === "state" && event.state === "closed");
        expect(closed).toMatchObject({ code: 1006 });
      } finally {
        await socket.stop();
      }
    });

    it("ten reconnects in a row leave no deaf socket behind (F8)", async () => {
      const events: SocketEvent[] = [];
      const socket = createComfySocket({
        baseUrl: client.baseUrl,
        clientId: randomUUID(),
        clock: systemClock,
        settleMs: 100,
        onEvent: (event) => events.push(event),
      });
      socket.start();
      try {
        for (let round = 0; round < 10; round += 1) {
          const opened = events.length;
          await until("it is open", () => socket.state() === "open");
          socket.reconnect("test");
          await until("it closed", () =>
            events
              .slice(opened)
              .some((event) => event.kind === "state" && event.state === "closed"),
          );
        }
        await until("it is open", () => socket.state() === "open");
        const before = events.length;
        // A status goes to every socket that is still registered.
        await ended(await start(picture(`deaf-${randomUUID()}`)));
        await until("it hears", () =>
          events.slice(before).some((event) => event.kind === "message"),
        );
      } finally {
        await socket.stop();
      }
    });
  });
});
