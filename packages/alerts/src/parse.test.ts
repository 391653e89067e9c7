import { describe, expect, it } from "vitest";
import { parseAlertChannels } from "./channel.ts";
import { fillSummary, secondsText } from "./label-text.ts";
import { parseAlertRule, parseAlertRules, toWireRule } from "./parse-rule.ts";
import { problemTexts, type Parsed } from "./reading.ts";
import { ruleSet } from "./rule-set.ts";

const RULE = {
  name: "queue_is_long",
  severity: "warning",
  summary: "{value} jobs wait",
  when: { metric: "holdfast_jobs", where: { status: "queued" }, above: 100, resolve: 50 },
};
const problems = (parsed: Parsed<unknown>): string =>
  parsed.kind === "ok" ? "ok" : problemTexts(parsed.problems).join("\n");

describe("a rule", () => {
  it("is read with what is left out filled in, and written as it is read", () => {
    const parsed = parseAlertRule(RULE);
    expect(parsed).toMatchObject({
      kind: "ok",
      value: {
        kind: "rule",
        rule: {
          forMs: 0,
          resolveAfterMs: 60_000,
          noDataMs: 300_000,
          advice: null,
          when: { comparison: "above", value: 100, resolveValue: 50 },
        },
      },
    });
    if (parsed.kind === "invalid") throw new Error("invalid");
    expect(parseAlertRule(toWireRule(parsed.value))).toEqual(parsed);
  });

  it.each([
    [{ ...RULE, name: "Queue" }, /^name: expected a name in snake_case .*found "Queue"/],
    [
      { ...RULE, severity: "bad" },
      /severity: expected one of info, warning, critical, found "bad"/,
    ],
    [{ ...RULE, sumary: "x" }, /sumary: there is no such field; expected one of name/],
    [{ ...RULE, when: { metric: "a b", above: 1 } }, /when.metric: expected the name of a metric/],
    [{ ...RULE, when: { metric: "a" } }, /when.above: .*either above or below, found neither/],
    [{ ...RULE, when: { metric: "a", above: 1, below: 2 } }, /found both/],
    [{ ...RULE, when: { metric: "a", above: 1, resolve: 2 } }, /when.resolve: expected at most 1/],
    [{ ...RULE, when: { metric: "a", below: 1, resolve: 0 } }, /when.resolve: expected at least 1/],
    [{ ...RULE, when: { metric: "a", above: "1" } }, /when.above: expected a number .*found "1"/],
    [{ ...RULE, alongside: [{ metric: "a" }] }, /alongside\[0\].above/],
    [{ ...RULE, forMs: -1 }, /forMs: expected a whole number from 0/],
    [{ ...RULE, labels: { "a-b": "x" } }, /labels.a-b/],
    ["x", /expected an object, found "x"/],
  ])("with a mistake is refused in words: %j", (value, words) => {
    expect(problems(parseAlertRule(value))).toMatch(words);
  });

  it("of a file may put a built-in one out of force, and one of the API comes before both", () => {
    const file = parseAlertRules({ rules: [{ name: "job_poison", enabled: false }, RULE] });
    const api = parseAlertRules([{ ...RULE, severity: "critical" }]);
    if (file.kind === "invalid" || api.kind === "invalid") throw new Error("invalid");
    const rules = ruleSet(api.value, file.value);
    const named = (name: string) =>
      rules.filter(({ entry }) => (entry.kind === "off" ? entry.name : entry.rule.name) === name);
    expect(named("job_poison")).toMatchObject([{ source: "file", entry: { kind: "off" } }]);
    expect(named("queue_is_long")).toMatchObject([
      { source: "api", entry: { rule: { severity: "critical" } } },
    ]);
    expect(named("queue_old")).toMatchObject([{ source: "built_in" }]);
  });

  it("stands once in a list", () => {
    expect(problems(parseAlertRules([RULE, RULE]))).toMatch(/queue_is_long is used twice/);
    expect(problems(parseAlertRules({}))).toMatch(/expected a list of rules, found an object/);
    expect(problems(parseAlertRules([1]))).toMatch(/^\[0\]: expected an object, found 1/);
  });
});

describe("a channel", () => {
  const WEBHOOK = { name: "ops", type: "webhook", url: "https://x.example/h", secretFile: "/s" };
  const MAIL = { name: "m", type: "email", host: "smtp", from: "a@b", to: ["c@d"] };

  it("is read with its defaults", () => {
    const parsed = parseAlertChannels([
      WEBHOOK,
      { name: "chat", type: "slack", urlFile: "/u", minSeverity: "critical" },
      { name: "am", type: "alertmanager", url: "http://am:9093/" },
      MAIL,
    ]);
    expect(parsed).toMatchObject({
      value: [
        { minSeverity: "warning", repeatMs: 14_400_000 },
        { minSeverity: "critical", urlFile: "/u" },
        { url: "http://am:9093", tokenFile: null, repeatMs: 60_000 },
        { port: 587, tls: "starttls", user: null, to: ["c@d"] },
      ],
    });
  });

  it.each([
    [{ ...WEBHOOK, type: "pager" }, /type: expected one of webhook, slack, alertmanager, email/],
    [{ ...WEBHOOK, url: "ftp://x" }, /url: expected an http/],
    [{ ...WEBHOOK, url: "https://u:p@x.example" }, /without user and password/],
    [{ ...WEBHOOK, secret: "whsec_x" }, /secret: there is no such field/],
    [{ ...WEBHOOK, secretFile: undefined }, /secretFile: expected the path of a file/],
    [{ ...WEBHOOK, name: "" }, /name: expected a name/],
    [{ ...MAIL, to: [] }, /to: expected a list of one mail address or more/],
    [{ ...MAIL, to: ["x\r\nBcc: y@z"] }, /to\[0\]: expected a mail address/],
    [{ ...MAIL, user: "u" }, /user and passwordFile together/],
    [{ ...MAIL, port: 0 }, /port: expected a whole number from 1/],
  ])("with a mistake is refused in words: %j", (value, words) => {
    expect(problems(parseAlertChannels([value]))).toMatch(words);
  });

  it("stands once in a list", () => {
    expect(problems(parseAlertChannels([WEBHOOK, WEBHOOK]))).toMatch(/ops is used twice/);
    expect(problems(parseAlertChannels("x"))).toMatch(/expected a list of channels, found "x"/);
  });
});

describe("a summary", () => {
  it("has values in the places of their names", () => {
    const sample = { value: 0.857, words: "6/7\nmachines", labels: { machine: "box" } };
    expect(fillSummary("{percent} {value} {words} {machine} {other} {duration}", sample)).toBe(
      "85.7% 0.86 6/7 machines box {other} 1 s",
    );
    expect(fillSummary("{toString}", sample)).toBe("{toString}");
  });

  it.each([
    [0, "0 s"],
    [45, "45 s"],
    [720, "12 min"],
    [7_500, "2 h 5 min"],
    [90_061, "1 d 1 h"],
  ])("has %s seconds as %s", (seconds, text) => expect(secondsText(seconds)).toBe(text));
});
