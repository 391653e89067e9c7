/** What every channel for alerts does, whatever it speaks: for one that is open against a real receiver. */
import type { AlertChannel, NoticedAlert, Notification } from "../src/alerts/model.ts";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

const MINUTE = 60_000;
/** When the notifications of the contract were made. */
export const NOTICED_AT = Date.parse("2026-01-31T12:00:00Z");
const never = new AbortController().signal;

/** An alert as a notification has it. */
export function noticed(more: Partial<NoticedAlert> = {}): NoticedAlert {
  return {
    id: "alt_00000000000000000000000001",
    status: "firing",
    fingerprint: "f".repeat(64),
    rule: "disk_nearly_full",
    severity: "warning",
    labels: { machine: "box-1" },
    summary: "The disk of box-1 is nearly full: 3 GB of 100 GB free",
    advice: "holdfast machine clean --dry-run says what can go there.",
    value: 0.03,
    lastValue: null,
    firedAt: NOTICED_AT - 5 * MINUTE,
    resolvedAt: null,
    reason: null,
    ...more,
  };
}

/** A notification. */
export function notification(...alerts: NoticedAlert[]): Notification {
  const id = "ald_00000000000000000000000001";
  return { id, cause: "change", createdAt: NOTICED_AT, alerts };
}

/** What a receiver took, as far as every kind of channel has it. */
export interface Received {
  /** One entry an alert: its status and its rule, wherever the receiver finds them. */
  readonly alerts: readonly { readonly status: "firing" | "resolved"; readonly rule: string }[];
  /** The whole of it as text. */
  readonly text: string;
}

/** A receiver, and a channel to it. */
export interface ChannelGround {
  readonly channel: AlertChannel;
  received(): Promise<readonly Received[]> | readonly Received[];
  /** From now on it refuses for good, for a time, or does not answer and cuts the connection. */
  turn(to: "well" | "refusing" | "busy" | "cutting"): void;
  /** Secrets that may stand nowhere but in what is sent. */
  readonly secrets: readonly string[];
  /** Takes the file of its secret away; undefined where there is none. */
  readonly loseSecret: (() => Promise<void>) | undefined;
  close(): Promise<void>;
}

/** The contract of channels. */
export function describeAlertChannel(name: string, open: () => Promise<ChannelGround>): void {
  describe(`a channel by ${name}`, () => {
    let ground: ChannelGround;
    beforeEach(async () => {
      ground = await open();
    });
    afterEach(async () => {
      await ground.channel.close();
      await ground.close();
    });
    const send = (one: Notification, signal = never) => ground.channel.send(one, signal);

    it("delivers what fires and what is resolved", async () => {
      const resolved = noticed({
        id: "alt_00000000000000000000000002",
        status: "resolved",
        rule: "queue_old",
        resolvedAt: NOTICED_AT,
        reason: "it is right again",
        summary: "Over after 5 min, it is right again; it was: The oldest job has waited 11 min",
        value: null,
        lastValue: 660,
      });
      expect(await send(notification(noticed(), resolved))).toEqual({ kind: "sent" });
      const all = await ground.received();
      expect(all.flatMap(({ alerts }) => alerts)).toEqual(
        expect.arrayContaining([
          { status: "firing", rule: "disk_nearly_full" },
          { status: "resolved", rule: "queue_old" },
        ]),
      );
      expect(all[0]?.text).toContain("The disk of box-1 is nearly full: 3 GB of 100 GB free");
      // Whoever reads nothing but the text sees that it is over, and what is to be done about it no more.
      const over = all[0]?.text.slice(all[0].text.indexOf(resolved.summary)) ?? "";
      expect(over).toContain("Over after 5 min, it is right again; it was: The oldest job");
    });

    it("delivers as many alerts as a notification may have, with odd texts", async () => {
      const odd = `<!everyone> "x" & äöü 😀 ${"y".repeat(400)}`;
      const many = Array.from({ length: 100 }, (_, n) =>
        noticed({
          id: `alt_${n}`,
          summary: odd,
          labels: { machine: odd.slice(0, 100), n: String(n) },
        }),
      );
      expect(await send(notification(...many))).toEqual({ kind: "sent" });
      const [one] = await ground.received();
      expect(one?.text).toContain("äöü 😀");
    });

    it("says what is refused, and what may be tried again", async () => {
      ground.turn("busy");
      expect(await send(notification(noticed()))).toMatchObject({ kind: "failed" });
      ground.turn("refusing");
      expect(await send(notification(noticed()))).toMatchObject({ kind: "refused" });
      ground.turn("well");
      expect(await send(notification(noticed()))).toEqual({ kind: "sent" });
      expect(await ground.received()).toHaveLength(1);
    });

    it("does not know what became of it when the connection is cut", async () => {
      ground.turn("cutting");
      expect(await send(notification(noticed()))).toMatchObject({ kind: "unknown" });
    });

    it("shows its secrets in no outcome and in no name", async () => {
      for (const state of ["busy", "refusing", "cutting"] as const) {
        ground.turn(state);
        const shown = JSON.stringify([await send(notification(noticed())), ground.channel.target]);
        for (const secret of ground.secrets) expect(shown).not.toContain(secret);
      }
    });

    it("waits for its secret's file to be there", async () => {
      if (ground.loseSecret === undefined) return;
      await ground.loseSecret();
      expect(await send(notification(noticed()))).toMatchObject({
        kind: "failed",
        reason: expect.stringMatching(/cannot be read \(ENOENT\)/),
      });
    });

    it("ends when it is told to", async () => {
      const stopping = new AbortController();
      stopping.abort(new Error("stopping"));
      await expect(send(notification(noticed()), stopping.signal)).rejects.toThrow("stopping");
    });
  });
}
