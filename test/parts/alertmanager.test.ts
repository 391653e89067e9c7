/** Alerts told to a real Alertmanager, which tells them on: firing, kept alive, resolved. */
import { spawn, type ChildProcess } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseAlertChannels } from "@holdfast/alerts";
import { systemClock } from "@holdfast/runtime/system";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createGuardedFetch } from "../../packages/control-plane/src/access/guarded-fetch.ts";
import { parseUrlRules } from "../../packages/control-plane/src/access/url-rules.ts";
import { openChannel } from "../../packages/control-plane/src/alerts/channels/open-channel.ts";
import type { AlertChannel, NoticedAlert } from "../../packages/control-plane/src/alerts/model.ts";
import {
  noticed,
  notification,
} from "../../packages/control-plane/testing/alert-channel-contract.ts";
import { findProgram } from "../support/find-program.ts";
import { startHttpReceiver, type HttpReceiver } from "../support/http-receiver.ts";
import { freePort, temporaryFolder, until } from "../support/processes.ts";

/** `HOLDFAST_TEST_ALERTMANAGER`, or the program on the path, by Debian's name or its own. */
const ALERTMANAGER =
  process.env["HOLDFAST_TEST_ALERTMANAGER"] ??
  findProgram(["prometheus-alertmanager", "alertmanager"]);
if (ALERTMANAGER === undefined) {
  console.warn(
    "test/parts/alertmanager.test.ts: SKIPPED, there is no Alertmanager (apt-get install prometheus-alertmanager, or HOLDFAST_TEST_ALERTMANAGER)",
  );
}

const never = new AbortController().signal;

describe.skipIf(ALERTMANAGER === undefined)("an Alertmanager", () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let receiver: HttpReceiver;
  let child: ChildProcess;
  let url: string;
  let channel: AlertChannel;
  let fetcher: ReturnType<typeof createGuardedFetch>;
  beforeEach(async () => {
    folder = await temporaryFolder();
    receiver = await startHttpReceiver();
    const config = join(folder.path, "alertmanager.yml");
    const groups = "group_wait: 200ms\n  group_interval: 1s\n  repeat_interval: 1h";
    await writeFile(
      config,
      `route:\n  receiver: hook\n  group_by: ['...']\n  ${groups}\nreceivers:\n- name: hook\n  webhook_configs:\n  - url: ${receiver.url}/\n    send_resolved: true\n`,
    );
    url = `http://127.0.0.1:${await freePort()}`;
    child = spawn(
      ALERTMANAGER ?? "",
      [
        `--config.file=${config}`,
        `--storage.path=${join(folder.path, "data")}`,
        `--web.listen-address=${new URL(url).host}`,
        "--cluster.listen-address=",
      ],
      { stdio: "ignore" },
    );
    await until("the Alertmanager is ready", async () => (await fetch(`${url}/-/ready`)).ok);
    const parsed = parseAlertChannels([{ name: "am", type: "alertmanager", url }]);
    if (parsed.kind !== "ok" || parsed.value[0] === undefined) throw new Error("no channel");
    fetcher = createGuardedFetch({ clock: systemClock, rules: parseUrlRules("127.0.0.1") });
    channel = openChannel(parsed.value[0], {
      fetcher,
      clock: systemClock,
      sign: () => undefined,
    });
  });
  afterEach(async () => {
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    await ended;
    await fetcher.close();
    await receiver.close();
    await folder.remove();
  });

  const send = (alert: NoticedAlert) => channel.send(notification(alert), never);
  const told = (): string[] =>
    receiver.received.map(({ body }) => {
      const { status, alerts } = JSON.parse(body) as {
        status: string;
        alerts: { labels: Record<string, string> }[];
      };
      return `${status} ${alerts[0]?.labels["alertname"]}`;
    });
  const active = async () =>
    (await (await fetch(`${url}/api/v2/alerts`)).json()) as {
      labels: Record<string, string>;
      annotations: Record<string, string>;
      endsAt: string;
    }[];

  it("takes what fires, and tells it on; a refreshment moves its end; its end is told on", async () => {
    const firedAt = systemClock.now() - 60_000;
    expect(await send(noticed({ firedAt }))).toEqual({ kind: "sent" });
    await until("it is told on", () => told().length === 1, 20_000);
    expect(told()).toEqual(["firing disk_nearly_full"]);
    const [first] = await active();
    expect(first).toMatchObject({
      labels: { alertname: "disk_nearly_full", severity: "warning", machine: "box-1" },
      annotations: { summary: expect.stringContaining("nearly full") },
    });
    await systemClock.sleep(1_100);
    await send(noticed({ firedAt }));
    const [again] = await active();
    expect(Date.parse(again?.endsAt ?? "")).toBeGreaterThan(Date.parse(first?.endsAt ?? ""));

    const resolvedAt = systemClock.now();
    await send(noticed({ status: "resolved", firedAt, resolvedAt, reason: "it is right again" }));
    await until("its end is told on", () => told().length === 2, 20_000);
    expect(told()[1]).toBe("resolved disk_nearly_full");
    expect(await active()).toEqual([]);
  });

  it("takes odd texts, and the most alerts of a notification", async () => {
    const firedAt = systemClock.now();
    const odd = `"x" {a="b"} 😀 ${"y".repeat(90)}`;
    const many = Array.from({ length: 100 }, (_, n) =>
      noticed({ id: `alt_${n}`, firedAt, labels: { machine: odd, n: String(n) }, summary: odd }),
    );
    expect(await channel.send(notification(...many), never)).toEqual({ kind: "sent" });
    await until("all are there", async () => (await active()).length === 100);
  });
});
