/** Undisturbed runs: what a graph gives on a ComfyUI on which nothing fails. */
import { createHash } from "node:crypto";
import type { Graph } from "@holdfast/comfyui/protocol";
import { systemClock } from "@holdfast/runtime/system";
import { createInProcessSimulator, type InProcessSimulator } from "@holdfast/simulator";
import type { PictureRecord } from "./record.ts";

/** Where it runs. */
export interface ReferenceCard {
  readonly gib: number;
  readonly checkpoints: readonly string[];
}

const LIMIT_MS = 20_000;
const PROMPT_ID = "reference";

/** Renders a graph undisturbed. Throws when even then it fails: the drill would prove nothing. */
export async function renderUndisturbed(
  graph: Graph,
  { gib, checkpoints }: ReferenceCard,
): Promise<readonly PictureRecord[]> {
  const simulator = createInProcessSimulator({
    clock: systemClock,
    timeScale: 0,
    models: { checkpoints },
    vram: { totalBytes: Math.round(gib * 1024 ** 3), deviceName: "undisturbed" },
  });
  try {
    const body = JSON.stringify({ prompt: graph, prompt_id: PROMPT_ID });
    const posted = await ask(simulator, "POST", "/prompt", body);
    if (posted.status !== 200) throw new Error(`refused: ${posted.body.toString()}`);
    const entry = await untilEnded(simulator);
    if (entry.status.status_str !== "success") {
      throw new Error(`an undisturbed run failed: ${JSON.stringify(entry.status.messages.at(-1))}`);
    }
    const files = Object.entries(entry.outputs).flatMap(([nodeId, { images = [] }]) =>
      images.map((file, ordinal) => ({ nodeId, ordinal, file })),
    );
    const pictures: PictureRecord[] = [];
    for (const { nodeId, ordinal, file } of files) {
      const place = new URLSearchParams({ ...file }).toString();
      const { body: png } = await ask(simulator, "GET", `/view?${place}`);
      pictures.push({ nodeId, ordinal, pixels: pixelsOf(png) });
    }
    return pictures;
  } finally {
    simulator.stop();
  }
}

/** A hash of the pixels of a PNG, without what ComfyUI writes into it beside them. */
export function pixelsOf(png: Buffer): string {
  const hash = createHash("sha256");
  for (let at = 8; at + 8 <= png.length;) {
    const length = png.readUInt32BE(at);
    const type = png.toString("latin1", at + 4, at + 8);
    if (type === "IHDR" || type === "IDAT") hash.update(png.subarray(at + 8, at + 8 + length));
    at += length + 12;
  }
  return hash.digest("hex");
}

interface Entry {
  readonly outputs: Readonly<
    Record<string, { readonly images?: readonly Readonly<Record<string, string>>[] }>
  >;
  readonly status: { readonly status_str: string; readonly messages: readonly unknown[] };
}

async function untilEnded(simulator: InProcessSimulator): Promise<Entry> {
  const deadline = systemClock.elapsed() + LIMIT_MS;
  while (systemClock.elapsed() < deadline) {
    const { body } = await ask(simulator, "GET", `/history/${PROMPT_ID}`);
    const entry = (JSON.parse(body.toString()) as Record<string, Entry>)[PROMPT_ID];
    if (entry !== undefined) return entry;
    await systemClock.sleep(1);
  }
  throw new Error("an undisturbed run does not end");
}

async function ask(
  simulator: InProcessSimulator,
  method: string,
  url: string,
  body = "",
): Promise<{ readonly status: number; readonly body: Buffer }> {
  const answer = await simulator.request({
    method,
    url,
    headers: {},
    readBody: () => Promise.resolve(Buffer.from(body)),
  });
  if (typeof answer === "string") throw new Error(`the undisturbed ComfyUI: ${answer}`);
  return { status: answer.status, body: Buffer.from((answer.body ?? "") as string) };
}
