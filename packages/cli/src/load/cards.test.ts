import type { GpuQuery } from "@holdfast/gpu";
import { createFakeClock } from "@holdfast/runtime/testing";
import { expect, it } from "vitest";
import { findCards } from "./cards.ts";
import type { LoadTarget } from "./load-target.ts";

const TARGET: LoadTarget = {
  kind: "comfyui",
  url: "http://127.0.0.1:8188",
  version: null,
  render: () => Promise.reject(new Error("nothing is rendered here")),
  close: () => Promise.resolve(),
};
const query = (sample: GpuQuery["sample"]): GpuQuery => ({
  sample,
  discover: () => Promise.reject(new Error("nothing is discovered here")),
});

it("a stop while the cards are looked for is no failure: there are none, and the run ends itself", async () => {
  const stop = new AbortController();
  const looking = findCards(TARGET, {
    clock: createFakeClock(),
    signal: stop.signal,
    query: query(() => {
      stop.abort(new Error("Ctrl-C"));
      return Promise.reject(new Error("Ctrl-C"));
    }),
  });
  expect((await looking).source).toBeNull();
});

it("what goes wrong otherwise is told", async () => {
  const broken = findCards(TARGET, {
    clock: createFakeClock(),
    signal: new AbortController().signal,
    query: query(() => Promise.reject(new Error("a bug"))),
  });
  await expect(broken).rejects.toThrow("a bug");
});
