import type { WebhookChannel } from "@holdfast/alerts";
import type { Clock } from "@holdfast/runtime";
import type { GuardedFetch } from "../../access/guarded-fetch.ts";
import type { AlertChannel, NoticedAlert, Notification } from "../model.ts";
import { postJson } from "./post.ts";
import { readSecretFile } from "./secret-file.ts";

/** The headers by which a target verifies a message; undefined when the secret is none. */
export type SignMessage = (
  secret: string,
  message: { readonly id: string; readonly body: string; readonly timestampSeconds: number },
) => Readonly<Record<string, string>> | undefined;

const MS_PER_SECOND = 1_000;

/** Signed as all webhooks are (Standard Webhooks); the body and its id are the same in every try. */
export function openWebhookChannel(
  settings: WebhookChannel,
  deps: {
    readonly fetcher: Pick<GuardedFetch, "fetch">;
    readonly clock: Pick<Clock, "now">;
    readonly sign: SignMessage;
  },
): AlertChannel {
  return {
    settings,
    target: new URL(settings.url).host,
    async send(notification, signal) {
      const secret = await readSecretFile(settings.secretFile);
      if (secret.kind === "failed") return secret;
      const body = JSON.stringify(toBody(settings.name, notification));
      const timestampSeconds = Math.floor(deps.clock.now() / MS_PER_SECOND);
      const headers = deps.sign(secret.text, { id: notification.id, body, timestampSeconds });
      if (headers === undefined) {
        const reason = `${settings.secretFile} holds no signing secret: expected whsec_ and 24 to 64 bytes in Base64`;
        return { kind: "failed", reason };
      }
      return await postJson(deps.fetcher, settings.url, body, headers, signal);
    },
    close: async () => undefined,
  };
}

function toBody(channel: string, { id, cause, createdAt, alerts }: Notification) {
  return {
    type: "alert.notification",
    timestamp: new Date(createdAt).toISOString(),
    data: { channel, cause, alerts: alerts.map(toBodyAlert) },
    id,
    version: 1,
  };
}

function toBodyAlert({ firedAt, resolvedAt, ...alert }: NoticedAlert) {
  return {
    ...alert,
    firedAt: new Date(firedAt).toISOString(),
    resolvedAt: resolvedAt === null ? null : new Date(resolvedAt).toISOString(),
  };
}
