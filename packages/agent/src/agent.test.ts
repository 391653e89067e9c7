import { afterEach, describe, expect, it } from "vitest";
import { createHarness, plainImage, textToImage, type Harness } from "../testing/harness.ts";

let harness: Harness;
afterEach(async () => {
  await harness.end();
});

describe("an agent beside a living ComfyUI", () => {
  it("runs a lease and stores its picture under the caller's own name", async () => {
    harness = await createHarness();
    const lease = await harness.plane.submit({ graph: textToImage(1) });
    const report = await harness.plane.reported(lease.attemptId);
    expect(report.outcome.kind).toBe("succeeded");
    if (report.outcome.kind !== "succeeded") return;
    expect(report.outcome.outputs).toMatchObject([
      { nodeId: "7", ordinal: 0, kind: "image", mediaType: "image/png", temporary: false },
    ]);
    expect(report.outcome.outputs[0]?.name).toMatch(/^books\/page_\d+_\.png$/);
    expect(harness.plane.blobs.has(report.outcome.outputs[0]?.sha256 ?? "")).toBe(true);
    expect(report.started).toBe(true);
  });

  it("runs many, asking the history about once for each", async () => {
    harness = await createHarness();
    const leases = await Promise.all(
      Array.from({ length: 40 }, (_, n) => harness.plane.submit({ graph: plainImage(n) })),
    );
    for (const lease of leases) {
      const report = await harness.plane.reported(lease.attemptId);
      expect(report.outcome.kind).toBe("succeeded");
    }
    const { requests } = harness.simulator.stats();
    console.log(requests, harness.plane.counts);
  });
});
