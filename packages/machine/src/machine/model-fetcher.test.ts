import { createFakeClock } from "@holdfast/runtime/testing";
import { expect, test } from "vitest";
import { ModelFetcher } from "./model-fetcher.ts";

const NAME = { folder: "loras", name: "a" };

test("its end ends what is being fetched, and is there only then", async () => {
  const clock = createFakeClock();
  const order: string[] = [];
  const fetcher = new ModelFetcher({
    fetch: async (_name, signal) => {
      try {
        await clock.sleep(60_000, signal);
      } finally {
        await Promise.resolve();
        order.push("fetch is over");
      }
    },
  });
  const failure = fetcher
    .fetch(NAME, new AbortController().signal)
    .catch((error: Error) => error.message);
  await fetcher.end();
  order.push("parts may be closed");
  expect(order).toEqual(["fetch is over", "parts may be closed"]);
  expect(await failure).toMatch(/another manifest/);
});

test("whoever asks may give up alone", async () => {
  const clock = createFakeClock();
  const fetcher = new ModelFetcher({ fetch: (_name, signal) => clock.sleep(10, signal) });
  const stop = new AbortController();
  const given = fetcher.fetch(NAME, stop.signal).catch((error: Error) => error.message);
  const other = fetcher.fetch(NAME, new AbortController().signal).then(() => "fetched");
  stop.abort(new Error("no more"));
  await clock.advance(10);
  expect([await given, await other]).toEqual(["no more", "fetched"]);
  await fetcher.end();
});
