import type { ChannelSettings } from "@holdfast/alerts";
import { assertNever, type Clock } from "@holdfast/runtime";
import type { GuardedFetch } from "../../access/guarded-fetch.ts";
import type { AlertChannel } from "../model.ts";
import { openAlertmanagerChannel } from "./alertmanager-channel.ts";
import { openEmailChannel } from "./email-channel.ts";
import { openSlackChannel } from "./slack-channel.ts";
import { openWebhookChannel, type SignMessage } from "./webhook-channel.ts";

/** What channels need. */
export interface ChannelDeps {
  readonly fetcher: Pick<GuardedFetch, "fetch">;
  readonly clock: Clock;
  readonly sign: SignMessage;
}

/** A channel as its settings say. Connects to nothing before it has something to send. */
export function openChannel(settings: ChannelSettings, deps: ChannelDeps): AlertChannel {
  switch (settings.type) {
    case "webhook":
      return openWebhookChannel(settings, deps);
    case "slack":
      return openSlackChannel(settings, deps);
    case "alertmanager":
      return openAlertmanagerChannel(settings, deps);
    case "email":
      return openEmailChannel(settings, deps);
    default:
      return assertNever(settings);
  }
}
