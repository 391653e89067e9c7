/** Every kind of channel against a receiver on loopback: by one contract, and what each does beside it. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTcpServer, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseAlertChannels, type ChannelSettings } from "@holdfast/alerts";
import { createFakeClock } from "@holdfast/runtime/testing";
import { systemClock } from "@holdfast/runtime/system";
import PostalMime from "postal-mime";
import { SMTPServer } from "smtp-server";
import { Webhook } from "standardwebhooks";
import { expect, it } from "vitest";
import {
  describeAlertChannel,
  noticed,
  NOTICED_AT,
  notification,
  type ChannelGround,
  type Received,
} from "../../../testing/alert-channel-contract.ts";
import { createGuardedFetch } from "../../access/guarded-fetch.ts";
import { parseUrlRules } from "../../access/url-rules.ts";
import { isSecret, newSecret, signedHeaders } from "../../webhooks/signing.ts";
import type { AlertChannel } from "../model.ts";
import { openChannel } from "./open-channel.ts";

const never = new AbortController().signal;

interface SeenRequest {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** An HTTP receiver, a folder for secrets, and what channels need. */
async function httpGround(
  settings: (base: string, folder: string) => object,
  secrets: Readonly<Record<string, string>>,
  read: (request: SeenRequest) => Received,
) {
  const folder = await mkdtemp(join(tmpdir(), "hf-alerts-"));
  const seen: SeenRequest[] = [];
  let state = "well";
  const answer = (request: IncomingMessage, response: ServerResponse, body: string): void => {
    if (state === "cutting") return void request.socket.destroy();
    if (state === "busy") return void response.writeHead(503).end("later");
    if (state === "refusing") return void response.writeHead(400).end("not\u001B[2J so");
    const headers = request.headers as Record<string, string>;
    seen.push({ path: request.url ?? "", headers, body });
    response.end();
  };
  const server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => answer(request, response, Buffer.concat(parts).toString()));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const files = Object.entries(secrets).map(([name, text]) => [
    join(folder, name),
    text.replace("BASE", base),
  ]);
  for (const [path = "", text = ""] of files) await writeFile(path, `${text}\n`);
  const fetcher = createGuardedFetch({
    clock: systemClock,
    rules: parseUrlRules("0.0.0.0/0,::/0"),
  });
  const channel = open(settings(base, folder), fetcher);
  const ground: ChannelGround & { readonly seen: SeenRequest[]; readonly folder: string } = {
    channel,
    seen,
    folder,
    received: () => seen.map(read),
    turn: (to) => void (state = to),
    secrets: files.map(([, text = ""]) => text),
    loseSecret: files.length === 0 ? undefined : () => rm(files[0]?.[0] ?? ""),
    async close() {
      await fetcher.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await rm(folder, { recursive: true });
    },
  };
  return ground;
}

function read(settings: object): ChannelSettings {
  const parsed = parseAlertChannels([settings]);
  if (parsed.kind !== "ok" || parsed.value[0] === undefined) {
    throw new Error(JSON.stringify(parsed));
  }
  return parsed.value[0];
}

function open(
  settings: object,
  fetcher: Parameters<typeof openChannel>[1]["fetcher"] = {
    fetch: () => Promise.reject(new Error("not called")),
  },
): AlertChannel {
  return openChannel(read(settings), {
    fetcher,
    clock: systemClock,
    sign: (secret, message) => (isSecret(secret) ? signedHeaders(secret, message) : undefined),
  });
}

// Webhook ----------------------------------------------------------------------------------------

const secret = newSecret();
const webhookGround = () =>
  httpGround(
    (base, folder) => ({
      name: "ops",
      type: "webhook",
      url: `${base}/hook`,
      secretFile: join(folder, "secret"),
    }),
    { secret },
    ({ body }) => {
      const { data } = JSON.parse(body) as { data: Received };
      return { alerts: data.alerts.map(({ status, rule }) => ({ status, rule })), text: body };
    },
  );
describeAlertChannel("webhook", webhookGround);

it("signs a webhook as all webhooks are, with the same body in every try", async () => {
  const ground = await webhookGround();
  try {
    await ground.channel.send(notification(noticed()), never);
    await ground.channel.send(notification(noticed()), never);
    const [first, second] = ground.seen;
    expect(new Webhook(secret).verify(first?.body ?? "", first?.headers ?? {})).toMatchObject({
      type: "alert.notification",
      id: notification().id,
      timestamp: "2026-01-31T12:00:00.000Z",
      data: {
        channel: "ops",
        cause: "change",
        alerts: [{ rule: "disk_nearly_full", firedAt: "2026-01-31T11:55:00.000Z" }],
      },
    });
    expect(second?.body).toBe(first?.body);
    expect(second?.headers["webhook-id"]).toBe(first?.headers["webhook-id"]);
  } finally {
    await ground.close();
  }
});

it("does not send what it cannot sign", async () => {
  const ground = await webhookGround();
  try {
    await writeFile(join(ground.folder, "secret"), "hunter2");
    expect(await ground.channel.send(notification(noticed()), never)).toMatchObject({
      kind: "failed",
      reason: expect.stringMatching(/holds no signing secret/),
    });
    expect(ground.seen).toEqual([]);
  } finally {
    await ground.close();
  }
});

// Slack ------------------------------------------------------------------------------------------

interface SlackBody {
  readonly text: string;
  readonly blocks: readonly { readonly text: { readonly text: string } }[];
}
const slackGround = () =>
  httpGround(
    (_base, folder) => ({ name: "chat", type: "slack", urlFile: join(folder, "url") }),
    { url: "BASE/services/T0/B0/Sekrit" },
    ({ body }) => {
      const { blocks } = JSON.parse(body) as SlackBody;
      const alerts = blocks.map(({ text: { text } }) => ({
        status: text.includes("*RESOLVED*") ? ("resolved" as const) : ("firing" as const),
        rule: /\n_([a-z_]+)/.exec(text)?.[1] ?? "",
      }));
      return { alerts, text: blocks.map(({ text }) => text.text).join("\n") };
    },
  );
describeAlertChannel("Slack", slackGround);

it("lets nothing in a text be a mention or a link, and keeps to Slack's limits", async () => {
  const ground = await slackGround();
  try {
    const odd = noticed({ summary: `<!channel> <http://evil|x> ${"z".repeat(4_000)}` });
    const many = Array.from({ length: 100 }, () => odd);
    await ground.channel.send(notification(...many), never);
    const body = JSON.parse(ground.seen[0]?.body ?? "") as SlackBody;
    expect(body.text).not.toMatch(/<[!h]/);
    expect(body.text).toContain("(and 99 more)");
    expect(body.blocks).toHaveLength(21);
    for (const { text } of body.blocks) {
      expect(text.text.length).toBeLessThanOrEqual(3_000);
      expect(text.text).not.toMatch(/<[!h]/);
    }
  } finally {
    await ground.close();
  }
});

// Alertmanager -----------------------------------------------------------------------------------

interface Amalert {
  readonly labels: Readonly<Record<string, string>>;
  readonly startsAt: string;
  readonly endsAt: string;
}
const alertmanagerGround = () =>
  httpGround(
    (base, folder) => ({
      name: "am",
      type: "alertmanager",
      url: `${base}/prefix/`,
      tokenFile: join(folder, "token"),
    }),
    { token: "s3cr3t-token" },
    ({ body }) => {
      const alerts = JSON.parse(body) as Amalert[];
      return {
        alerts: alerts.map(({ labels, endsAt }) => ({
          status: Date.parse(endsAt) > systemClock.now() ? "firing" : "resolved",
          rule: labels["alertname"] ?? "",
        })),
        text: body,
      };
    },
  );
describeAlertChannel("Alertmanager", alertmanagerGround);

it("tells an Alertmanager labels that it takes, and an end beyond the next refreshment", async () => {
  const ground = await alertmanagerGround();
  try {
    await ground.channel.send(notification(noticed()), never);
    const request = ground.seen[0];
    expect(request?.path).toBe("/prefix/api/v2/alerts");
    expect(request?.headers["authorization"]).toBe("Bearer s3cr3t-token");
    const [alert] = JSON.parse(request?.body ?? "") as Amalert[];
    expect(alert).toMatchObject({
      labels: {
        alertname: "disk_nearly_full",
        severity: "warning",
        machine: "box-1",
        source: "holdfast",
      },
      annotations: { summary: expect.stringContaining("nearly full") },
      startsAt: new Date(NOTICED_AT - 300_000).toISOString(),
    });
    const lastsMs = Date.parse(alert?.endsAt ?? "") - systemClock.now();
    expect(lastsMs).toBeGreaterThan(4 * 60_000);
    expect(lastsMs).toBeLessThanOrEqual(5 * 60_000);
  } finally {
    await ground.close();
  }
});

// Mail -------------------------------------------------------------------------------------------

async function mailGround() {
  const folder = await mkdtemp(join(tmpdir(), "hf-alerts-"));
  await writeFile(join(folder, "password"), "pa55word");
  const mails: string[] = [];
  const senders: string[] = [];
  let state = "well";
  const refusal = () =>
    Object.assign(new Error(state === "busy" ? "try later" : "no such content"), {
      responseCode: state === "busy" ? 451 : 554,
    });
  const server = new SMTPServer({
    authOptional: false,
    allowInsecureAuth: true,
    disabledCommands: ["STARTTLS"],
    logger: false,
    onAuth: (auth, _session, done) => {
      if (auth.username === "bot" && auth.password === "pa55word") done(null, { user: "bot" });
      else done(new Error("wrong password"));
    },
    onRcptTo: (address, _session, done) => {
      senders.push(address.address);
      done();
    },
    onData: (stream, _session, done) => {
      const parts: Buffer[] = [];
      stream.on("data", (part: Buffer) => parts.push(part));
      stream.on("end", () => {
        if (state === "cutting") return cut();
        if (state !== "well") return done(refusal());
        mails.push(Buffer.concat(parts).toString());
        done();
      });
    },
  });
  server.on("error", () => undefined);
  const cut = (): void => {
    for (const connection of server.connections) {
      (connection as { _socket?: { destroy(): void } })._socket?.destroy();
    }
  };
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.server.address() as AddressInfo;
  const channel = open({
    name: "mail",
    type: "email",
    host: "127.0.0.1",
    port,
    tls: "none",
    user: "bot",
    passwordFile: join(folder, "password"),
    from: "Holdfast <holdfast@example.org>",
    to: ["ops@example.org", "boss@example.org"],
  });
  const ground: ChannelGround & { readonly mails: string[]; readonly folder: string } = {
    channel,
    mails,
    folder,
    async received() {
      return await Promise.all(
        mails.map(async (raw): Promise<Received> => {
          const { text = "" } = await PostalMime.parse(raw);
          const parts = text.split("\n\n").filter((part) => part.includes("rule "));
          const alerts = parts.map((part) => ({
            status: part.startsWith("RESOLVED") ? ("resolved" as const) : ("firing" as const),
            rule: /rule ([a-z_]+)/.exec(part)?.[1] ?? "",
          }));
          return { alerts, text };
        }),
      );
    },
    turn: (to) => void (state = to),
    secrets: ["pa55word"],
    loseSecret: () => rm(join(folder, "password")),
    async close() {
      cut();
      await new Promise<void>((resolve) => server.close(() => resolve()));
      await rm(folder, { recursive: true });
    },
  };
  return ground;
}
describeAlertChannel("mail", mailGround);

it("sends one mail to all, with a subject of one line and an id that stays", async () => {
  const ground = await mailGround();
  try {
    const odd = noticed({ severity: "critical", summary: "Disk\r\nBcc: evil@example.org" });
    await ground.channel.send(notification(odd, noticed()), never);
    const mail = await PostalMime.parse(ground.mails[0] ?? "");
    expect(mail.subject).toMatch(/^\[Holdfast\] CRITICAL: Disk.*\(and 1 more\)$/);
    expect(mail.to?.map(({ address }) => address)).toEqual(["ops@example.org", "boss@example.org"]);
    expect(mail.bcc).toBeUndefined();
    expect(mail.messageId).toBe(`<${notification().id}@holdfast>`);
    expect(mail.text).toContain("holdfast machine clean --dry-run");
  } finally {
    await ground.close();
  }
});

it("says that a password is wrong, without it, and tries again later", async () => {
  const ground = await mailGround();
  try {
    await writeFile(join(ground.folder, "password"), "wrong-one");
    const outcome = await ground.channel.send(notification(noticed()), never);
    expect(outcome).toMatchObject({ kind: "failed", reason: expect.stringMatching(/mail server/) });
    expect(JSON.stringify(outcome)).not.toContain("wrong-one");
  } finally {
    await ground.close();
  }
});

it("insists on TLS where it is told to", async () => {
  const ground = await mailGround();
  try {
    const { settings } = ground.channel;
    const strict = openChannel({ ...settings, tls: "starttls" } as ChannelSettings, {
      fetcher: { fetch: () => Promise.reject(new Error("not called")) },
      clock: systemClock,
      sign: () => undefined,
    });
    expect(await strict.send(notification(noticed()), never)).toMatchObject({ kind: "failed" });
    expect(ground.mails).toEqual([]);
  } finally {
    await ground.close();
  }
});

it("leaves a mail server that stands still after its time", async () => {
  const sockets: Socket[] = [];
  const silent = createTcpServer((socket) => void sockets.push(socket));
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const clock = createFakeClock();
  const { port } = silent.address() as AddressInfo;
  const settings = read({
    name: "mail",
    type: "email",
    host: "127.0.0.1",
    port,
    tls: "none",
    from: "a@example.org",
    to: ["b@example.org"],
  });
  const fetcher = { fetch: () => Promise.reject(new Error("not called")) };
  const channel = openChannel(settings, { fetcher, clock, sign: () => undefined });
  const outcome = channel.send(notification(noticed()), never);
  await expect.poll(() => clock.sleeperCount()).toBe(1);
  await clock.advance(45_000);
  expect(await outcome).toEqual({ kind: "unknown", reason: "the mail server took too long" });
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => silent.close(resolve));
});
