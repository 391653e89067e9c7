/** Alerts as an operator sets them up: files for rules and channels, a receiver, the command line. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Webhook } from "standardwebhooks";
import { afterEach, beforeEach, expect, it } from "vitest";
import { api, quickGraph } from "../support/api.ts";
import { startHttpReceiver, type HttpReceiver } from "../support/http-receiver.ts";
import {
  freePort,
  startHoldfast,
  temporaryFolder,
  until,
  type HoldfastProcess,
} from "../support/processes.ts";

const SECRET = `whsec_${Buffer.alloc(32, 7).toString("base64")}`;
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let receiver: HttpReceiver;
let url: string;
const started: HoldfastProcess[] = [];

beforeEach(async () => {
  folder = await temporaryFolder();
  receiver = await startHttpReceiver();
  url = `http://127.0.0.1:${await freePort()}`;
  const files = {
    secret: SECRET,
    "channels.json": JSON.stringify([
      {
        name: "ops",
        type: "webhook",
        url: `${receiver.url}/hook`,
        secretFile: join(folder.path, "secret"),
      },
    ]),
    // In the place of the built-in rule, which waits for ten minutes.
    "rules.json": JSON.stringify([
      {
        name: "queue_old",
        severity: "warning",
        summary: "The oldest queued job has waited {duration}",
        when: { metric: "jobs_oldest_queued_seconds", above: 1 },
        resolveAfterMs: 0,
      },
    ]),
  };
  for (const [name, text] of Object.entries(files)) {
    await writeFile(join(folder.path, name), text);
  }
});
afterEach(async () => {
  for (const one of started.splice(0).reverse()) await one.stop("SIGINT", 20_000);
  await receiver.close();
  await folder.remove();
});

const up = async (): Promise<HoldfastProcess> => {
  const one = startHoldfast("up", ["up", "--simulator"], {
    HOLDFAST_HOME: join(folder.path, "home"),
    HOLDFAST_PORT: new URL(url).port,
    HOLDFAST_ALERT_CHANNELS: join(folder.path, "channels.json"),
    HOLDFAST_ALERT_RULES: join(folder.path, "rules.json"),
  });
  started.push(one);
  await one.saw("is up", 60_000);
  await until("it is ready", () => api(url).isReady(), 30_000);
  return one;
};
const alerts = async (...args: string[]) => {
  const one = startHoldfast("alerts", ["alerts", ...args], { HOLDFAST_URL: url });
  return { code: await one.exited, output: one.output() };
};
interface Told {
  readonly cause: string;
  readonly alerts: readonly {
    readonly id: string;
    readonly rule: string;
    readonly status: string;
  }[];
}
/** What the receiver was told; throws when a signature is wrong. */
const told = (): readonly Told[] =>
  receiver.received.map(({ body, headers }) => {
    const verified = new Webhook(SECRET).verify(body, headers as Record<string, string>);
    return (verified as { data: Told }).data;
  });
const statusesOf = (rule: string): string[] =>
  told()
    .flatMap((one) => one.alerts)
    .filter((alert) => alert.rule === rule)
    .map(({ status }) => status);

it("a test and a real alert are delivered, signed, and the real one is resolved, over a kill -9", async () => {
  const first = await up();
  const tested = await alerts("test", "ops");
  expect(tested).toMatchObject({ code: 0, output: "ops: delivered\n" });
  expect(told()).toMatchObject([{ cause: "test", alerts: [{ rule: "test" }] }]);

  // Nobody has such a node: it waits until it is cancelled.
  const graph = quickGraph(1);
  const job = await api(url).submit({ ...graph, 1: { ...graph[1], class_type: "NobodyHasThis" } });
  await until("it fires", () => statusesOf("queue_old").includes("firing"), 40_000);
  const listed = await alerts("list", "--rule", "queue_old", "--json");
  expect(JSON.parse(listed.output)).toMatchObject({ state: "firing", rule: "queue_old" });

  // The next process knows what was told and what was not.
  await first.kill();
  await up();
  await fetch(`${url}/api/v1/jobs/${job.id}/cancel`, { method: "POST" });
  await until("it is resolved", () => statusesOf("queue_old").includes("resolved"), 40_000);
  expect(statusesOf("queue_old")).toEqual(["firing", "resolved"]);
  expect((await alerts("list", "--rule", "queue_old")).output).toBe("no alerts now\n");

  receiver.answer(404);
  const refused = await alerts("test");
  expect(refused).toMatchObject({
    code: 1,
    output: expect.stringContaining("ops: not delivered: the target answered 404"),
  });
  const log = started.map((one) => one.output()).join("");
  expect(log).not.toContain(SECRET);
});
