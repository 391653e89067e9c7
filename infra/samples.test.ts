/** The samples that load tests and profiles send, on the simulator. */
import { readFileSync } from "node:fs";
import { systemClock } from "@holdfast/runtime/system";
import { createInProcessSimulator } from "@holdfast/simulator";
import { expect, it } from "vitest";

const LIMIT_MS = 20_000;

interface Entry {
  readonly outputs: Readonly<Record<string, { readonly images?: readonly object[] }>>;
  readonly status: { readonly status_str: string };
}

/** Pictures of each node that saves some. */
async function render(graph: unknown): Promise<Readonly<Record<string, number>>> {
  const simulator = createInProcessSimulator({ clock: systemClock, timeScale: 0 });
  const ask = async (method: string, url: string, body = ""): Promise<unknown> => {
    const readBody = (): Promise<Buffer> => Promise.resolve(Buffer.from(body));
    const reply = await simulator.request({ method, url, headers: {}, readBody });
    if (typeof reply === "string") throw new Error(`${method} ${url}: ${reply}`);
    const text = Buffer.from((reply.body ?? "") as string).toString();
    expect([reply.status, text]).toEqual([200, text]);
    return JSON.parse(text);
  };
  try {
    await ask("POST", "/prompt", JSON.stringify({ prompt: graph, prompt_id: "sample" }));
    const deadline = systemClock.elapsed() + LIMIT_MS;
    while (systemClock.elapsed() < deadline) {
      const history = (await ask("GET", "/history/sample")) as Record<string, Entry>;
      const entry = history["sample"];
      if (entry !== undefined) {
        expect(entry.status.status_str).toBe("success");
        const saved = Object.entries(entry.outputs);
        return Object.fromEntries(saved.map(([node, { images = [] }]) => [node, images.length]));
      }
      await systemClock.sleep(1);
    }
    throw new Error("it does not end");
  } finally {
    simulator.stop();
  }
}

it.each([
  ["book_small", 1],
  ["book_medium", 2],
  ["book_large", 1],
])("%s renders %i", async (name, pictures) => {
  const file = new URL(`comfyui/samples/${name}.json`, import.meta.url);
  expect(await render(JSON.parse(readFileSync(file, "utf8")))).toEqual({ "9": pictures });
});
