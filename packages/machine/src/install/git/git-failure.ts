import type { ProgramResult } from "../run-program.ts";
import { describeProgramEnd } from "../run-program.ts";
import { StepFailure } from "../model.ts";
import { withoutUserinfo } from "../redact.ts";

/** Why git could not reach, or use, a repository. */
export type GitFailureKind =
  | "unreachable"
  | "repository_missing"
  | "auth_needed"
  | "ref_missing"
  | "bad_url"
  | "no_space"
  | "other";

/** A failure of git, told apart by what an operator has to do. */
export interface GitFailure {
  readonly kind: GitFailureKind;
  readonly message: string;
  readonly advice: string;
}

/**
 * Texts of git 2.30 to 2.50 in the C locale, of its HTTP helper (curl), of OpenSSH and of GitHub's
 * and GitLab's answers, in the order in which they are asked: the first that fits decides.
 */
const PATTERNS: readonly (readonly [GitFailureKind, RegExp])[] = [
  ["no_space", /No space left on device|Disk quota exceeded/i],
  [
    "bad_url",
    /unable to find remote helper|transport '[^']*' not allowed|protocol '[^']*' is not supported|URL rejected|Malformed input to a URL|no path specified|hostname contains invalid/i,
  ],
  // git daemon says one and the same for a missing and for a private one.
  [
    "repository_missing",
    /access denied or repository not exported|Repository not found|repository '[^']*' not found|does not appear to be a git repository|does not exist|not found in upstream origin|The project you were looking for could not be found/i,
  ],
  [
    "auth_needed",
    /Authentication failed|could not read (?:Username|Password)|terminal prompts disabled|Permission denied|Host key verification failed|HTTP Basic: Access denied|returned error: 40[13]|Invalid username or (?:password|token)/i,
  ],
  ["repository_missing", /returned error: 404/i],
  [
    "unreachable",
    /Could not resolve host|Connection (?:refused|timed out|reset)|Failed to connect|unable to connect|unable to look up|Operation timed out|Operation too slow|Network is unreachable|No route to host|early EOF|RPC failed|hung up unexpectedly|unable to access|returned error: (?:429|5\d\d)|SSL|certificate/i,
  ],
  [
    "ref_missing",
    /couldn't find remote ref|not our ref|unadvertised object|remote ref .* not found/i,
  ],
];

const ADVICE: Readonly<Record<GitFailureKind, string>> = {
  unreachable: "Check the network, the proxy settings and the host's name, and run it again.",
  repository_missing: "Check the address, and that the repository may be read from here.",
  auth_needed:
    "Give the user that runs Holdfast a credential helper or an SSH key for that host; git must not ask. A host may answer so for a repository that does not exist, too.",
  ref_missing: "Name a branch, tag or commit that the repository has.",
  bad_url: "Give an address that git takes: https://, ssh://, git://, file:// or a path.",
  no_space: "Free space on that disk and run it again; it goes on from here.",
  other: "Look at git's message above.",
};

const LEAD: Readonly<Record<GitFailureKind, string>> = {
  unreachable: "cannot be reached",
  repository_missing: "is not there, or may not be read",
  auth_needed: "asks for a user and password or a key",
  ref_missing: "does not have that ref",
  bad_url: "is not an address that git can use",
  no_space: "could not be kept: the disk is full",
  other: "could not be read",
};

/** Which failure a text of git tells. */
export function classifyGitText(text: string): GitFailureKind {
  return PATTERNS.find(([, pattern]) => pattern.test(text))?.[0] ?? "other";
}

/** The failure of a call of git for a repository; a user and password in its URL are not shown. */
export function toGitFailure(
  url: string,
  result: Exclude<ProgramResult, { kind: "succeeded" }>,
): GitFailure {
  if (result.kind === "not_started") {
    return {
      kind: "other",
      message: `git could not be started: ${result.reason}`,
      advice: "Install git (for Debian and Ubuntu: apt-get install git).",
    };
  }
  const kind =
    result.kind === "timed_out"
      ? "unreachable"
      : classifyGitText(`${result.stderrTail}\n${result.stdout}`);
  return {
    kind,
    // git repeats the address in its own words, with the password that is in it.
    message: withoutUserinfo(`${url} ${LEAD[kind]}: ${describeProgramEnd(result)}`),
    advice: ADVICE[kind],
  };
}

/** A failure of git as one of a step. */
export function gitStepFailure(failure: GitFailure): StepFailure {
  return new StepFailure(failure.message, failure.advice);
}
