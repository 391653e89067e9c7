import type { PostedGraph } from "../src/engine/validation.ts";
import { encodePng } from "../src/pixels/png.ts";
import type { Fixture, FixtureStep, RecordedAnswer, RecordedPart } from "./fixture-file.ts";
import { normalise } from "./normalise.ts";
import { SocketLog, type Frame } from "./socket-log.ts";

/** What was recorded and what was seen, side by side: equal when the server conforms. */
export interface Comparison {
  readonly expected: unknown;
  readonly actual: unknown;
}

/** A pause of the recorder that was a wait for the queue. */
const LONG_WAIT_S = 2;
/** Recorded sleeps are played this much faster. */
const SLEEP_SHARE = 0.4;

/** Plays a recorded exchange against a server. */
export class Replay {
  readonly comparisons: Comparison[] = [];
  readonly #url: string;
  readonly #fixture: Fixture;
  readonly #sockets = new Map<string, SocketLog>();
  readonly #expected = new Map<string, unknown[]>();
  readonly #skipped: (step: FixtureStep) => boolean;
  readonly #promptIds = new Map<string, string>();
  #uploads = 0;
  #lastAt = 0;

  constructor(url: string, fixture: Fixture, skipped: (step: FixtureStep) => boolean) {
    this.#url = url;
    this.#fixture = fixture;
    this.#skipped = skipped;
  }

  /** Plays every step; afterwards {@link comparisons} holds each answer and each socket's frames. */
  async play(): Promise<readonly Comparison[]> {
    try {
      await this.#prime();
      await this.#countUp();
      await this.#openImplied();
      for (const step of this.#fixture.steps) await this.#playStep(step);
      for (const [label, expected] of this.#expected) {
        const socket = this.#sockets.get(label);
        await this.#caughtUp(label);
        this.comparisons.push({ expected, actual: (socket?.frames ?? []).map(describeFrame) });
      }
    } finally {
      for (const socket of this.#sockets.values()) await socket.close();
    }
    return this.comparisons;
  }

  async #playStep(step: FixtureStep): Promise<void> {
    if (step.http !== undefined && step.res !== undefined) {
      for (const label of this.#expected.keys()) await this.#caughtUp(label);
      await this.#settle(step);
      if (!this.#skipped(step)) await this.#request(step.http, step.res);
      return;
    }
    const label = step.ws;
    if (label === undefined) return;
    if (step.open !== undefined) {
      for (const other of this.#expected.keys()) await this.#caughtUp(other);
      this.#sockets.set(label, await SocketLog.open(this.#url, step.open));
      this.#expected.set(label, []);
    } else if ("closed" in step) {
      await this.#caughtUp(label);
      await this.#sockets.get(label)?.close();
    } else if (step.dir === "c>s") {
      this.#sockets.get(label)?.send(JSON.stringify(step.json));
    } else {
      this.#expect(label, step);
      await this.#interruptIfTold(label, step);
    }
  }

  #expect(label: string, step: FixtureStep): void {
    const { json } = step;
    const type = (json as { readonly type?: unknown } | undefined)?.type;
    const sent = this.#fixture.steps.some((each) => each.ws === label && each.dir === "c>s");
    if (type === "feature_flags" && !sent) {
      // The recording notes what this client sent, and has no frame of it.
      this.#sockets.get(label)?.send("not json");
      this.#sockets
        .get(label)
        ?.send(
          JSON.stringify({ type: "feature_flags", data: { supports_preview_metadata: true } }),
        );
    }
    this.#expected.get(label)?.push(json === undefined ? describeBinary(step) : normalise(json));
  }

  /** The interrupt that one recording only tells of: sent while its node sleeps. */
  async #interruptIfTold(label: string, step: FixtureStep): Promise<void> {
    const json = step.json as {
      readonly type?: string;
      readonly data?: { readonly node?: string };
    };
    if (this.#fixture.name !== "interrupted-uncooperative-node") return;
    if (json.type !== "executing" || json.data?.node !== "7") return;
    await this.#caughtUp(label);
    await fetch(`${this.#url}/interrupt`, { method: "POST" });
  }

  async #caughtUp(label: string): Promise<void> {
    const socket = this.#sockets.get(label);
    const count = this.#expected.get(label)?.length ?? 0;
    try {
      await socket?.until(() => socket.frames.length >= count, 8000);
    } catch {
      // Too few frames came: the comparison at the end shows which.
    }
  }

  async #request(http: NonNullable<FixtureStep["http"]>, recorded: RecordedAnswer): Promise<void> {
    const headers = { ...http.headers };
    if (headers["Origin"] === "http://127.0.0.1:8188") headers["Origin"] = this.#url;
    const path = this.#ownPath(http.path);
    if (headers["If-None-Match"] !== undefined) {
      const first = await fetch(this.#url + path);
      await first.arrayBuffer();
      headers["If-None-Match"] = first.headers.get("etag") ?? "";
    }
    const answer = await fetch(this.#url + path, {
      method: http.method,
      headers,
      ...this.#bodyOf(http),
    });
    const bytes = Buffer.from(await answer.arrayBuffer());
    this.#learnId(recorded, bytes);
    const { expected, actual } = compareAnswer(recorded, answer, bytes);
    const where = `${http.method} ${http.path}`;
    this.comparisons.push({ expected: { where, ...expected }, actual: { where, ...actual } });
    if (http.method === "POST" && http.path === "/history") await this.#refill(http.body);
  }

  /** Where the recorder waited long, it waited for the queue to run empty. */
  async #settle(step: FixtureStep): Promise<void> {
    const waitedS = (step.t ?? 0) - this.#lastAt;
    this.#lastAt = step.t ?? this.#lastAt;
    if (waitedS < LONG_WAIT_S || step.http?.method !== "GET") return;
    for (;;) {
      const answer = await fetch(`${this.#url}/prompt`);
      const { exec_info: info } = (await answer.json()) as {
        readonly exec_info: { readonly queue_remaining: number };
      };
      if (info.queue_remaining === 0) return;
    }
  }

  /** A recorded path with the ids of this run in it. */
  #ownPath(recorded: string): string {
    let path = recorded.replaceAll(" ", "%20");
    for (const [theirs, ours] of this.#promptIds) path = path.replace(theirs, ours);
    return path;
  }

  #learnId(recorded: RecordedAnswer, bytes: Buffer): void {
    const theirs = (recorded.json as { readonly prompt_id?: unknown } | undefined)?.prompt_id;
    if (typeof theirs !== "string" || bytes.length === 0) return;
    const ours = (JSON.parse(bytes.toString("utf8")) as { readonly prompt_id?: unknown }).prompt_id;
    if (typeof ours === "string") this.#promptIds.set(theirs, ours);
  }

  #bodyOf(http: NonNullable<FixtureStep["http"]>): { body?: string | FormData } {
    if (http.multipart !== undefined) return { body: this.#form(http.multipart) };
    if (http.raw_body !== undefined) return http.raw_body === "" ? {} : { body: http.raw_body };
    return http.body === undefined ? {} : { body: JSON.stringify(quickened(http.body)) };
  }

  #form(parts: readonly RecordedPart[]): FormData {
    const form = new FormData();
    for (const part of parts) {
      if (part.filename === undefined) {
        form.append(part.name, part.value ?? "");
        continue;
      }
      const isText = part.content_type === "text/plain";
      const content = isText ? Buffer.from("hello") : uploadPicture(this.#uploads);
      this.#uploads += 1;
      // aiohttp's client escapes the slash, as the recorded name in the answer shows.
      const name = part.filename.replaceAll("/", "%2F");
      form.append(
        part.name,
        new Blob([new Uint8Array(content)], { type: part.content_type ?? "" }),
        name,
      );
    }
    return form;
  }

  /** Runs beforehand what the recorded instance had cached from earlier prompts. */
  async #prime(): Promise<void> {
    const post = this.#fixture.steps.find((step) => step.http?.path === "/prompt");
    const cached = this.#fixture.steps.flatMap((step) => {
      const json = step.json as
        { readonly type?: string; readonly data?: { readonly nodes?: string[] } } | undefined;
      return json?.type === "execution_cached" ? [json.data?.nodes ?? []] : [];
    })[0];
    const body = post?.http?.body as { readonly prompt?: PostedGraph } | undefined;
    if (cached === undefined || cached.length === 0 || body?.prompt === undefined) return;
    const graph = structuredClone(body.prompt);
    for (const [id, node] of Object.entries(graph)) {
      if (cached.includes(id)) continue;
      if ("seed" in node.inputs) node.inputs["seed"] = 99;
      if ("seconds" in node.inputs) node.inputs["seconds"] = 0;
      if ("message" in node.inputs) node.inputs["message"] = "primed";
    }
    await this.#run({
      prompt: quickened(graph),
      prompt_id: "a0000000-0000-4000-8000-0000000000ff",
    });
    await fetch(`${this.#url}/history`, { method: "POST", body: '{"clear":true}' });
  }

  /** Uses up numbers, refused prompts included, so that the recorded ones come next. */
  async #countUp(): Promise<void> {
    const numbers = this.#fixture.steps.flatMap(({ res }) => {
      const number = (res?.json as { readonly number?: number } | undefined)?.number;
      return number === undefined || number < 1 ? [] : [number];
    });
    for (let i = 0; i < (numbers[0] ?? 0); i += 1) {
      const answer = await fetch(`${this.#url}/prompt`, { method: "POST", body: '{"prompt":{}}' });
      await answer.arrayBuffer();
    }
  }

  /** Runs the prompts that a history listing shows, and that were posted before it was recorded. */
  async #refill(body: unknown): Promise<void> {
    if (JSON.stringify(body) !== '{"clear":true}') return;
    const listing = this.#fixture.steps.find(
      ({ http }) => http?.path === "/history" && http.method === "GET",
    );
    const entries = (listing?.res?.json ?? {}) as Record<
      string,
      { readonly prompt: readonly unknown[] }
    >;
    for (const [promptId, entry] of Object.entries(entries)) {
      await this.#run({ prompt: entry.prompt[2], prompt_id: promptId });
    }
  }

  async #run(body: { readonly prompt: unknown; readonly prompt_id: string }): Promise<void> {
    const answer = await fetch(`${this.#url}/prompt`, {
      method: "POST",
      body: JSON.stringify(body),
    });
    await answer.arrayBuffer();
    const { prompt_id: promptId } = body;
    for (;;) {
      const history = await fetch(`${this.#url}/history/${promptId}`);
      if (Object.keys((await history.json()) as object).length > 0) return;
    }
  }

  /** Some recordings begin after their socket was opened. */
  async #openImplied(): Promise<void> {
    const first = this.#fixture.steps.find((step) => step.ws !== undefined);
    if (first === undefined || first.open !== undefined || first.ws === undefined) return;
    const post = this.#fixture.steps.find((step) => step.http?.path === "/prompt");
    const body = post?.http?.body as { readonly client_id?: string } | undefined;
    const socket = await SocketLog.open(this.#url, `/ws?clientId=${body?.client_id ?? ""}`);
    await socket.until(() => socket.frames.length > 0);
    socket.frames.length = 0;
    this.#sockets.set(first.ws, socket);
    this.#expected.set(first.ws, []);
  }
}

/** Which picture each recorded upload carries: the notes tell which ones had equal bytes. */
const UPLOAD_CONTENTS: readonly number[] = [0, 0, 1, 2, 1, 3, 4, 0, 0, 0, 0, 0, 0];

function uploadPicture(index: number): Buffer {
  const value = UPLOAD_CONTENTS[index] ?? 0;
  return encodePng(4, 4, new Uint8Array(64).fill(value));
}

/** Sleeps shortened, so that a replay takes no longer than it must. */
function quickened(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (key, each: unknown) =>
      key === "seconds" && typeof each === "number" ? each * SLEEP_SHARE : each,
    ),
  );
}

function compareAnswer(
  recorded: RecordedAnswer,
  answer: Response,
  bytes: Buffer,
): { readonly expected: Record<string, unknown>; readonly actual: Record<string, unknown> } {
  const expected: Record<string, unknown> = { status: recorded.status };
  const actual: Record<string, unknown> = { status: answer.status };
  const { content_type: type, headers, json, text, length, head_hex: head } = recorded;
  const put = (name: string, wanted: unknown, seen: unknown): void => {
    expected[name] = wanted;
    actual[name] = seen;
  };
  if (type !== undefined) put("type", type, answer.headers.get("content-type") ?? "");
  if (headers !== undefined) {
    const names = Object.keys(headers).sort();
    put(
      "headers",
      names,
      names.filter((name) => answer.headers.has(name)),
    );
  }
  const parsed = (): unknown => JSON.parse(bytes.toString("utf8"));
  if (json !== undefined) put("json", normalise(quickened(json)), normalise(parsed()));
  if (text !== undefined) put("text", text, bytes.toString("utf8"));
  if (length === 0) put("length", 0, bytes.length);
  if (head?.startsWith("89504e47") === true)
    put("head", head, bytes.toString("hex", 0, head.length / 2));
  if (head?.startsWith("ffd8") === true) put("head", "ffd8", bytes.toString("hex", 0, 2));
  if (recorded.keys !== undefined) {
    // Earlier recordings of the same instance stand before these.
    const keys = Object.keys(parsed() as object);
    const last = recorded.keys.slice(recorded.keys.length - keys.length);
    // JavaScript puts keys that look like numbers first, whoever sent them.
    put("keys", Object.keys(Object.fromEntries(last.map((id) => [id, true]))), keys);
  }
  if (recorded.pending !== undefined) {
    const queue = parsed() as { readonly queue_pending: readonly (readonly unknown[])[] };
    put("pending", idsOf(recorded.pending), idsOf(queue.queue_pending));
  }
  return { expected, actual };
}

function describeBinary(step: FixtureStep): unknown {
  const { event, image_type: imageType, metadata, hex } = step.binary ?? { event: 0 };
  if (event === 3) return { event, hex };
  return { event, imageType: imageType ?? null, metadata: normalise(metadata ?? null) };
}

function describeFrame(frame: Frame): unknown {
  if (frame.kind === "json") return normalise(frame.json);
  const event = frame.bytes.readUInt32BE(0);
  if (event === 3) return { event, hex: frame.bytes.toString("hex") };
  const second = frame.bytes.readUInt32BE(4);
  if (event === 1) return { event, imageType: second, metadata: null };
  const metadata: unknown = JSON.parse(frame.bytes.toString("utf8", 8, 8 + second));
  return { event, imageType: null, metadata: normalise(metadata) };
}

function idsOf(items: readonly (readonly unknown[])[]): readonly string[] {
  return items.map((item) => String(item[1]));
}
