import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createStreamParser } from "./event-stream.ts";

const stream =
  'retry: 2000\n\nid: evt_1\nevent: job.queued\ndata: {"a":1}\n\n: still here\n\ndata: x\ndata: y\n\nid: evt_2\ndata: z\n\n';
const messages = [
  { id: "evt_1", event: "job.queued", data: '{"a":1}' },
  { id: undefined, event: "message", data: "x\ny" },
  { id: "evt_2", event: "message", data: "z" },
];

describe("an event stream", () => {
  it("gives its messages, and nothing for heartbeats", () => {
    expect(createStreamParser()(stream)).toEqual(messages);
  });

  it("gives the same however it is cut into pieces", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(stream.length)), (cuts) => {
        const parse = createStreamParser();
        const places = [0, ...cuts.sort((a, b) => a - b), stream.length];
        const got = places.flatMap((at, i) => parse(stream.slice(places[i - 1] ?? 0, at)));
        expect(got).toEqual(messages);
      }),
    );
  });
});
