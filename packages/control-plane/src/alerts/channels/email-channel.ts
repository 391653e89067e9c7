import type { EmailChannel } from "@holdfast/alerts";
import type { Clock } from "@holdfast/runtime";
import { MAIL_TIMEOUT_MS, type AlertChannel, type SendOutcome } from "../model.ts";
import { plainText, toMessage } from "./message.ts";
import { readSecretFile } from "./secret-file.ts";

const SUBJECT_MAX = 180;
const STEP_TIMEOUT_MS = 15_000;

/** Mail by SMTP. One connection a notification: they are few, and a kept one is cut anyway. */
export function openEmailChannel(
  settings: EmailChannel,
  deps: { readonly clock: Clock },
): AlertChannel {
  return {
    settings,
    target: settings.host,
    async send(notification, signal) {
      let pass: string | undefined;
      if (settings.passwordFile !== null) {
        const secret = await readSecretFile(settings.passwordFile);
        if (secret.kind === "failed") return secret;
        pass = secret.text;
      }
      // Loaded by the first mail alone.
      const { createTransport } = await import("nodemailer");
      const transport = createTransport({
        host: settings.host,
        port: settings.port,
        secure: settings.tls === "tls",
        requireTLS: settings.tls === "starttls",
        ignoreTLS: settings.tls === "none",
        connectionTimeout: STEP_TIMEOUT_MS,
        greetingTimeout: STEP_TIMEOUT_MS,
        socketTimeout: STEP_TIMEOUT_MS,
        // Texts come from outside: nothing in them may name a file or an address to be read.
        disableFileAccess: true,
        disableUrlAccess: true,
        ...(settings.user === null || pass === undefined
          ? {}
          : { auth: { user: settings.user, pass } }),
      });
      const message = toMessage(notification);
      const mail = transport.sendMail({
        from: settings.from,
        to: [...settings.to],
        subject: `[Holdfast] ${message.title}`.slice(0, SUBJECT_MAX),
        text: `${plainText(message)}\n`,
        date: new Date(notification.createdAt),
        // The same in every try: a mailbox shows one that came twice once.
        messageId: `<${notification.id}@holdfast>`,
        headers: { "Auto-Submitted": "auto-generated" },
      });
      try {
        return await withEnd(deps.clock, mail, () => transport.close(), signal);
      } finally {
        transport.close();
      }
    },
    close: async () => undefined,
  };
}

async function withEnd(
  clock: Clock,
  mail: Promise<unknown>,
  cut: () => void,
  signal: AbortSignal,
): Promise<SendOutcome> {
  const over = new AbortController();
  const stop = AbortSignal.any([over.signal, signal]);
  const late = clock.sleep(MAIL_TIMEOUT_MS, stop).then(
    () => ({ kind: "unknown", reason: "the mail server took too long" }) as const,
    () => {
      if (signal.aborted) throw signal.reason;
      return new Promise<never>(() => undefined);
    },
  );
  const sent = mail.then(
    () => ({ kind: "sent" }) as const,
    (error: unknown) => toOutcome(error),
  );
  try {
    return await Promise.race([sent, late]);
  } finally {
    cut();
    over.abort(new Error("done"));
    late.catch(() => undefined);
  }
}

/**
 * Codes of failures that come before the mail was handed over. `ECONNECTION` is none: nodemailer 10.6 says
 * so too when the connection is cut after the last byte.
 */
const BEFORE_IT_WAS_SENT = new Set(["EDNS", "ETLS", "EAUTH", "EENVELOPE"]);
const PERMANENT = 500;

/** The server's words, which carry no password of ours. */
function toOutcome(error: unknown): SendOutcome {
  const { code, responseCode, response, message } = error as {
    readonly code?: unknown;
    readonly responseCode?: unknown;
    readonly response?: unknown;
    readonly message?: unknown;
  };
  const words = typeof response === "string" ? response : String(message);
  const reason = `the mail server: ${words}`;
  // A wrong password or address may be mended, and what is refused now may be meant for later (4xx).
  if (typeof responseCode === "number") {
    return {
      kind: responseCode >= PERMANENT && code === "EMESSAGE" ? "refused" : "failed",
      reason,
    };
  }
  const isBefore = typeof code === "string" && BEFORE_IT_WAS_SENT.has(code);
  return { kind: isBefore ? "failed" : "unknown", reason };
}
