/** An experiment whose runs are jobs of a running Holdfast. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readResults } from "@holdfast/experiments";
import { afterEach, beforeEach, expect, it } from "vitest";
import { until } from "../support/processes.ts";
import { prepareServed, type Served } from "../support/served.ts";

const SPEC = `name: harbour
graph:
  "1": { class_type: EmptyImage, inputs: { width: 32, height: 32, batch_size: 1, color: 0 } }
  "2": { class_type: SaveImage, inputs: { filename_prefix: "{{run}}", images: ["1", 0] } }
dimensions:
  color: { min: 0, max: 99, input: 1.color }
`;

let served: Served;
beforeEach(async () => {
  served = await prepareServed({ HEALTH_CHECK_RETRY_DELAY: "0.2" });
  await served.start();
});
afterEach(async () => {
  await served.close();
});

it("renders on a Holdfast, several at a time, and goes on where its server was away", async () => {
  const spec = join(served.folder, "harbour.yaml");
  writeFileSync(spec, SPEC);
  const out = join(served.folder, "out");
  const args = ["experiment", "run", spec, "--pre-flight", "--output", out];
  const first = await served.run([...args, "--count", "15"]);
  expect(first.output).toContain("[OK] Holdfast is healthy");
  expect(first.output).toContain("15 of 15 experiments completed");
  expect(first.code).toBe(0);
  const [name = ""] = readdirSync(out);
  const records = () =>
    readResults(readFileSync(join(out, name, "results.ndjson"), "utf8")).records;
  expect(
    records()
      .map(({ index }) => index)
      .sort((a, b) => a - b),
  ).toEqual(Array.from({ length: 15 }, (_, i) => i));
  expect(records()[0]).toMatchObject({ metrics: { attempts: 1, loss: 0, recovery_used: 0 } });
  expect(readdirSync(join(out, name, "images"))).toHaveLength(15);

  await served.process().kill();
  const down = await served.run([...args, "--count", "30", "--resume"]);
  expect(down.code).toBe(3);
  expect(down.output).toContain("[ERROR] Cannot connect to Holdfast server");
  await served.start();
  const rest = await served.run([...args, "--count", "30", "--resume"]);
  expect(rest.output).toContain("30 of 30 experiments completed");
  expect(rest.code).toBe(0);
  expect(rest.output).not.toContain("exp_0014:");
  const list = await served.run(["experiment", "list", out, "--json"]);
  expect(JSON.parse(list.output)).toMatchObject({ name: "harbour", completed: 30, count: 30 });
});

it("without the key that its server wants says so before anything is rendered", async () => {
  const spec = join(served.folder, "harbour.yaml");
  writeFileSync(spec, SPEC);
  const out = join(served.folder, "out");
  const made = await served.run(["keys", "create", "--name", "one", "--json"]);
  const { text: key } = JSON.parse(made.output) as { readonly text: string };
  const jobs = `${served.url}/api/v1/jobs`;
  await until("a key is wanted", async () => (await fetch(jobs)).status === 401, 30_000);
  const args = ["experiment", "run", spec, "--count", "3", "--output", out];
  const checked = await served.run([...args, "--pre-flight"]);
  expect(checked.code).toBe(3);
  // One attempt is enough to know.
  expect(checked.output).toContain(
    [
      "[INFO] Running health checks (attempt 1/3)...",
      "[ERROR] Holdfast returned HTTP 401: set HOLDFAST_API_KEY, or use --api-key",
      "",
      "=".repeat(70),
      "[ERROR] PRE-FLIGHT CHECKS FAILED",
    ].join("\n"),
  );
  const unchecked = await served.run(args);
  expect(unchecked.code).toBe(2);
  expect(unchecked.output).toContain("Set HOLDFAST_API_KEY, or use --api-key.");
  expect(unchecked.output).toContain("Nothing was rendered.");
  for (const { output } of [checked, unchecked]) {
    expect(output).not.toContain("exp_0000");
    expect(output).not.toContain("a service is down");
  }
  const keyed = await served.run([...args, "--pre-flight", "--api-key", key]);
  expect(keyed.output).toContain("3 of 3 experiments completed");
  expect(keyed.code).toBe(0);
});

it("whose key is revoked meanwhile stops with what to set, and goes on with another", async () => {
  const spec = join(served.folder, "harbour.yaml");
  writeFileSync(spec, SPEC);
  const out = join(served.folder, "out");
  const makeKey = async (name: string) => {
    const made = await served.run(["keys", "create", "--name", name, "--json", "--database"]);
    return JSON.parse(made.output) as {
      readonly text: string;
      readonly key: { readonly id: string };
    };
  };
  const one = await makeKey("one");
  const another = await makeKey("another");
  const args = ["experiment", "run", spec, "--output", out, "--no-check"];
  const running = served.run([...args, "--count", "100000", "--api-key", one.text]);
  await until("it renders", () => readdirSync(out).length > 0, 30_000);
  await served.run(["keys", "revoke", one.key.id, "--database"]);
  const { code, output } = await running;
  expect(code).toBe(2);
  expect(output).toMatch(/stopped, for no other one would do better: .*Set HOLDFAST_API_KEY/);
  expect(output).not.toContain("a service is down");
  const [name = ""] = readdirSync(out);
  const records = readResults(readFileSync(join(out, name, "results.ndjson"), "utf8")).records;
  const refused = records.filter(({ error }) => error !== null);
  // Those that were in flight at that moment.
  expect(refused.length).toBeLessThanOrEqual(4);
  const count = Math.max(...records.map(({ index }) => index)) + 1;
  const keyed = ["--api-key", another.text, "--resume", "--count", String(count)];
  const again = await served.run([...args, ...keyed]);
  expect(again.output).toContain(`${count} of ${count} experiments completed`);
  expect(again.code).toBe(0);
});
