import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { alerting } from "./alerting-settings.ts";
import { formatProblems, parseSettings } from "./config.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "hf-settings-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const parse = (rules: unknown, channels: unknown) => {
  const written = { rules, channels };
  for (const [name, value] of Object.entries(written)) {
    writeFileSync(join(folder, name), JSON.stringify(value));
  }
  return parseSettings(alerting, {
    env: {
      HOLDFAST_ALERT_RULES: join(folder, "rules"),
      HOLDFAST_ALERT_CHANNELS: join(folder, "channels"),
    },
  });
};

it("reads rules and channels from their files", () => {
  const parsed = parse([{ name: "job_poison", enabled: false }], {
    channels: [{ name: "chat", type: "slack", urlFile: "/run/secrets/slack" }],
  });
  expect(parsed).toMatchObject({
    kind: "ok",
    settings: { alertRules: [{ kind: "off" }], alertChannels: [{ name: "chat" }] },
  });
  expect(parseSettings(alerting, { env: {} })).toMatchObject({
    settings: { alertRules: [], alertChannels: [] },
  });
});

it("tells every mistake, with the file and the place in it", () => {
  const parsed = parse(
    [{ name: "x", severity: "info", summary: "x", when: { metric: "x" } }],
    [{ name: "ops", type: "webhook", url: "https://x.example", secret: "whsec_abc" }],
  );
  const words = parsed.kind === "invalid" ? formatProblems(parsed.problems) : "";
  expect(words).toMatch(/HOLDFAST_ALERT_RULES .*rules: \[0\]\.when\.above: expected either/);
  expect(words).toMatch(
    /HOLDFAST_ALERT_CHANNELS .*channels: \[0\]\.secret: there is no such field/,
  );
  expect(words).toMatch(/\[0\]\.secretFile: expected the path of a file/);
  expect(words).not.toContain("whsec_abc");
});
