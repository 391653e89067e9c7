import { describe, expect, it } from "vitest";
import { runSimulator } from "../src/index.ts";
import { ask, flatGraph, run } from "./target.ts";

function urlIn(lines: readonly string[]): string {
  const url = /^simulated ComfyUI on (http:\S+)$/.exec(lines[0] ?? "")?.[1];
  if (url === undefined) throw new Error(`no address in ${JSON.stringify(lines)}`);
  return url;
}

describe("the simulator as a command", () => {
  it("prints its address once it listens, has its faults in force, and ends when told", async () => {
    const stop = new AbortController();
    const lines: string[] = [];
    let running: Promise<void> = Promise.resolve();
    await new Promise<void>((resolve, reject) => {
      running = runSimulator({
        timeScale: 0,
        faults: ['[{"kind":"http_error","status":503,"match":{"path":"/queue"}}]'],
        signal: stop.signal,
        print(line) {
          lines.push(line);
          resolve();
        },
      });
      running.catch(reject);
    });
    const url = urlIn(lines);
    const target = { name: "command", url, stop: () => Promise.resolve() };
    expect((await ask(target, "GET", "/queue")).status).toBe(503);
    expect((await run(target, flatGraph(1, "command"))).status.completed).toBe(true);
    stop.abort();
    await running;
    await expect(ask(target, "GET", "/queue")).rejects.toThrow(/fetch failed/);
    expect(lines).toHaveLength(1);
  });

  it("refuses a fault that it cannot read, before it listens", async () => {
    const print = (): void => undefined;
    const signal = new AbortController().signal;
    const running = runSimulator({ faults: ['{"kind":"melt"}'], signal, print });
    await expect(running).rejects.toThrow(/fault rule \{"kind":"melt"\}: kind: expected one of/);
  });
});
