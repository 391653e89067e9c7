/**
 * Loss on networks that are real: by nft or netem in a namespace of its own (needs Linux and root), and by
 * toxiproxy (`go install github.com/Shopify/toxiproxy/v2/cmd/server@v2.5.0`, renamed `toxiproxy-server`, on
 * PATH). What cannot be had is skipped, and said so.
 */
import { spawn } from "node:child_process";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { expect, it } from "vitest";
import { openNamespaceLink } from "../../packages/cli/src/fault/loss/namespace-link.ts";
import { hostPrograms } from "../../packages/cli/src/fault/loss/programs.ts";
import { openToxiproxyLink } from "../../packages/cli/src/fault/loss/toxiproxy-link.ts";
import { until } from "../support/processes.ts";

const options = {
  share: 0.1,
  canMove: true,
  programs: hostPrograms,
  clock: systemClock,
  random: seededRandom(7),
};
const BYTES = 3_000_000;
const SERVER = `require("node:http").createServer((_, r) => r.end(Buffer.alloc(${BYTES}))).listen(8080, process.argv[1])`;

it("packets are dropped in a namespace of its own, nothing is lost for good, and nothing is left", async ({
  skip,
}) => {
  const trial = await openNamespaceLink(options);
  if (trial.kind === "not_here") {
    console.warn(`SKIPPED: loss in a network namespace: ${trial.why}`);
    return skip();
  }
  const { link } = trial;
  const [command = "", ...prefix] = link.prefix;
  const child = spawn(command, [...prefix, process.execPath, "-e", SERVER, link.host]);
  try {
    const url = await link.urlOf(link.host, 8080);
    const size = async () => (await (await fetch(url)).arrayBuffer()).byteLength;
    await until("the server behind the link answers", size, 20_000);
    await link.begin();
    for (let n = 0; n < 5; n += 1) expect(await size()).toBe(BYTES);
    expect(await link.lost()).toBeGreaterThan(0);
    await link.end();
  } finally {
    child.kill("SIGKILL");
    await link.close();
  }
  const left = await hostPrograms.run("ip", ["netns", "list"]);
  expect(left).toMatchObject({ kind: "ended", code: 0 });
  expect(JSON.stringify(left)).not.toContain(`holdfast-fault-${process.pid}`);
});

it("toxiproxy makes connections late or cuts them, and lets go", async ({ skip }) => {
  const trial = await openToxiproxyLink({ ...options, share: 1 });
  if (trial.kind === "not_here") {
    console.warn(`SKIPPED: loss by toxiproxy: ${trial.why}`);
    return skip();
  }
  const { link } = trial;
  const server = createServer((_, response) => response.end("ok"));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    const url = await link.urlOf("127.0.0.1", (server.address() as AddressInfo).port);
    expect(await (await fetch(url)).text()).toBe("ok");
    await link.begin();
    await expect(fetch(url, { headers: { connection: "close" } })).rejects.toThrow();
    await link.end();
    expect(await until("it lets go", async () => (await fetch(url)).text(), 10_000)).toBe("ok");
  } finally {
    server.closeAllConnections();
    server.close();
    await link.close();
  }
});
