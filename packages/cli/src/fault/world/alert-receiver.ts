import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { fieldOf } from "../../api/api-client.ts";

/** One alert as a receiver was told it. */
export interface ToldAlert {
  readonly rule: string;
  readonly status: string;
  readonly summary: string;
}

/** A receiver of webhooks on loopback. */
export interface AlertReceiver {
  readonly url: string;
  told(): readonly ToldAlert[];
  close(): Promise<void>;
}

const MAX_BODY = 1024 * 1024;
const MAX_TOLD = 1_000;

/** Starts one; it takes whatever is sent. */
export async function startAlertReceiver(): Promise<AlertReceiver> {
  const told: ToldAlert[] = [];
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => {
      if (body.length < MAX_BODY) body += chunk.toString("utf8");
    });
    request.on("end", () => {
      if (told.length < MAX_TOLD) told.push(...alertsIn(body));
      response.writeHead(200).end();
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/alerts`,
    told: () => told,
    async close() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
    },
  };
}

function alertsIn(body: string): readonly ToldAlert[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    return [];
  }
  const alerts = fieldOf(fieldOf(parsed, "data"), "alerts");
  if (!Array.isArray(alerts)) return [];
  return alerts.map((one: unknown) => ({
    rule: textOf(one, "rule"),
    status: textOf(one, "status"),
    summary: textOf(one, "summary"),
  }));
}

function textOf(value: unknown, name: string): string {
  const text = fieldOf(value, name);
  return typeof text === "string" ? text : "";
}
