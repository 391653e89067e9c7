import { describe, expect, test } from "vitest";
import { classifyGitText, toGitFailure } from "./git-failure.ts";

/** Samples of git 2.39 (C locale), GitHub, GitLab and OpenSSH 9. */
const SAMPLES: readonly (readonly [ReturnType<typeof classifyGitText>, string])[] = [
  [
    "unreachable",
    "fatal: unable to access 'https://x.invalid/': Could not resolve host: x.invalid",
  ],
  ["unreachable", "fatal: unable to connect to 127.0.0.1:\n127.0.0.1: errno=Connection refused"],
  ["unreachable", "fatal: unable to access 'https://h/': The requested URL returned error: 503"],
  ["unreachable", "ssh: connect to host h port 22: Connection timed out"],
  ["unreachable", "fatal: unable to access 'https://h/': SSL certificate problem: self-signed"],
  ["repository_missing", "fatal: '/x' does not appear to be a git repository"],
  ["repository_missing", "fatal: remote error: access denied or repository not exported: /x"],
  [
    "repository_missing",
    "remote: Repository not found.\nfatal: repository 'https://h/x/' not found",
  ],
  [
    "repository_missing",
    "ERROR: Repository not found.\nfatal: Could not read from remote repository.",
  ],
  [
    "auth_needed",
    "fatal: could not read Username for 'https://github.com': terminal prompts disabled",
  ],
  ["auth_needed", "git@h: Permission denied (publickey).\nfatal: Could not read from remote"],
  ["auth_needed", "fatal: unable to access 'https://h/x/': The requested URL returned error: 403"],
  ["bad_url", "fatal: unable to find remote helper for 'foo'"],
  ["bad_url", "fatal: transport 'ext' not allowed"],
  ["ref_missing", "fatal: couldn't find remote ref refs/heads/x"],
  ["ref_missing", "error: Server does not allow request for unadvertised object 1234"],
  ["no_space", "fatal: write error: No space left on device"],
  ["other", "fatal: something new"],
];

describe("failures of git", () => {
  test.each(SAMPLES)("%s: %s", (kind, text) => {
    expect(classifyGitText(text)).toBe(kind);
  });

  test("each comes in words with advice; a time limit means out of reach", () => {
    const printed = { stdout: "", isStdoutCut: false, stderrTail: "" };
    const late = toGitFailure("https://h/x", { kind: "timed_out", timeoutMs: 1_000, ...printed });
    expect(late.kind).toBe("unreachable");
    expect(late.message).toMatch(/^https:\/\/h\/x cannot be reached: not done after 1 s/);
    expect(toGitFailure("x", { kind: "not_started", reason: "gone" }).advice).toMatch(
      /Install git/,
    );
    const said = "fatal: unable to access 'https://me:pw@h/x/': Could not resolve host: h";
    const secret = { kind: "failed" as const, code: 128, ...printed, stderrTail: said };
    expect(toGitFailure("https://me:pw@h/x", secret).message).not.toContain("pw");
    const odd = { kind: "failed" as const, code: 128, ...printed, stderrTail: "fatal: new" };
    expect(toGitFailure("x", odd)).toMatchObject({ kind: "other" });
  });
});
