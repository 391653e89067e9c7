/** The feature as it is put together: a rule of a file over a metric of `/metrics`, asked over HTTP. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { AlertView } from "@holdfast/contract";
import { afterAll, beforeAll, expect, test } from "vitest";
import { temporaryFolder, until } from "../../../../test/support/processes.ts";
import { startSystem, type TestSystem } from "../../../../test/support/system.ts";

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let system: TestSystem;
beforeAll(async () => {
  folder = await temporaryFolder();
  const file = join(folder.path, "rules.json");
  const rule = {
    name: "nobody_here",
    severity: "critical",
    summary: "{value} machines are online",
    when: { metric: "holdfast_machines_online", below: 1 },
  };
  writeFileSync(file, JSON.stringify([rule]));
  system = await startSystem({
    agent: false,
    simulators: [],
    env: { HOLDFAST_ALERT_RULES: file },
  });
});
afterAll(async () => {
  await system.close();
  await folder.remove();
});

test("a threshold on a metric fires, and is listed, counted and told as an event", async () => {
  const fired = await until("it fires", async () => {
    const answer = await fetch(`${system.url}/api/v1/alerts?rule=nobody_here`);
    return ((await answer.json()) as { items: AlertView[] }).items[0];
  });
  expect(fired).toMatchObject({ state: "firing", value: 0, summary: "0 machines are online" });
  const metrics = await (await fetch(`${system.url}/metrics`)).text();
  expect(metrics).toContain('holdfast_alerts{severity="critical",state="firing"} 1');
  const { rows } = await system.controlPlane
    .db()
    .query("select type, payload from events where type like 'alert.%'");
  expect(rows).toMatchObject([
    { type: "alert.fired", payload: { alertId: fired.id, rule: "nobody_here", silenced: false } },
  ]);
  const { rules } = (await (await fetch(`${system.url}/api/v1/alerts/rules`)).json()) as {
    rules: { name: string; hasData: boolean; alerts: number }[];
  };
  const facts = Object.fromEntries(rules.map((one) => [one.name, one]));
  expect(facts["nobody_here"]).toMatchObject({ source: "file", hasData: true, alerts: 1 });
  expect(facts["queue_old"]).toMatchObject({ source: "built_in", hasData: true, alerts: 0 });
  expect(facts["error_budget_burning"]).toMatchObject({ hasData: true, alerts: 0 });
});
