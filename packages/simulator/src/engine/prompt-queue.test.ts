import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PromptQueue, type QueueItem } from "./prompt-queue.ts";
import { PythonError } from "./python-text.ts";

function item(number: number, promptId: string): QueueItem {
  return [number, promptId, {}, {}, []];
}

describe("the queue", () => {
  it("gives prompts by number, then by id", () => {
    const entries = fc.uniqueArray(fc.tuple(fc.integer({ min: -5, max: 5 }), fc.string()), {
      selector: ([number, id]) => `${String(number)}/${id}`,
    });
    fc.assert(
      fc.property(entries, (all) => {
        const queue = new PromptQueue();
        for (const [number, id] of all) queue.put(item(number, id));
        const taken = all.map(() => queue.take()?.item);
        const wanted = [...all].sort(([n, a], [m, b]) => n - m || (a < b ? -1 : 1));
        expect(taken.map((each) => [each?.[0], each?.[1]])).toEqual(wanted);
        expect(queue.take()).toBeNull();
      }),
    );
  });

  it("stays in order when some are removed", () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.integer(), { minLength: 1 }), fc.nat(), (numbers, pick) => {
        const queue = new PromptQueue();
        for (const number of numbers) queue.put(item(number, String(number)));
        const gone = numbers[pick % numbers.length] ?? 0;
        expect(queue.remove(String(gone))).toBe(true);
        const left = numbers.filter((number) => number !== gone).sort((a, b) => a - b);
        expect(left.map(() => queue.take()?.item[0])).toEqual(left);
      }),
    );
  });

  it("F27: equal number and id throw, and are queued all the same", () => {
    const queue = new PromptQueue();
    queue.put(item(5, "a"));
    expect(() => queue.put(item(5, "a"))).toThrow(PythonError);
    expect(queue.remaining).toBe(2);
  });

  it("a taken prompt counts until it is done", () => {
    const queue = new PromptQueue();
    queue.put(item(1, "a"));
    const taken = queue.take();
    expect([queue.remaining, queue.running.length]).toEqual([1, 1]);
    queue.done(taken?.ticket ?? -1);
    expect(queue.remaining).toBe(0);
  });
});
