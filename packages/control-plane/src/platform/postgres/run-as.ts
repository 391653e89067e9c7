import { execFile, spawn, type ChildProcess } from "node:child_process";
import { readFile } from "node:fs/promises";
import { userInfo } from "node:os";
import { assertNever } from "@holdfast/runtime";

/** An account of this machine. */
export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** As whom Postgres runs. It refuses to run as root, so root must run it as somebody else. */
export type RunAs =
  | { readonly kind: "direct" }
  /** In a user namespace where we are `uid`: not root in Postgres's eyes, ourselves for the files. */
  | { readonly kind: "namespace"; readonly uid: number }
  | { readonly kind: "account"; readonly account: Account };

/** What the choice depends on. */
export interface RunAsFacts {
  /** Undefined on Windows. */
  readonly uid: number | undefined;
  /** Whether our uid has a name: `initdb` stops without one (arbitrary uids in containers). */
  readonly hasName: boolean;
  /** Owner of the data folder, when there is one already. */
  readonly dataOwner: { readonly uid: number; readonly gid: number } | undefined;
  readonly namespaceWorks: boolean;
  readonly accounts: readonly Account[];
}

/** A choice, or why there is none. */
export type RunAsDecision =
  | { readonly kind: "run"; readonly as: RunAs }
  | { readonly kind: "refuse"; readonly reason: "no_account" | "folder_owner" };

/** Accounts to borrow, best first. They exist on every common system and own nothing of worth. */
const BORROWED = ["postgres", "nobody", "daemon"];
const NOBODY_UID = 65_534;

/** Decides as whom Postgres runs. Pure. A data folder that exists binds the choice to its owner. */
export function decideRunAs(facts: RunAsFacts): RunAsDecision {
  const { uid, dataOwner } = facts;
  const namespace: RunAsDecision = {
    kind: "run",
    as: { kind: "namespace", uid: borrowedAccount(facts.accounts)?.uid ?? NOBODY_UID },
  };
  if (uid === undefined) return { kind: "run", as: { kind: "direct" } };
  if (uid !== 0) {
    if (dataOwner !== undefined && dataOwner.uid !== uid) {
      return { kind: "refuse", reason: "folder_owner" };
    }
    return !facts.hasName && facts.namespaceWorks
      ? namespace
      : { kind: "run", as: { kind: "direct" } };
  }
  if (dataOwner !== undefined && dataOwner.uid !== 0) {
    const owner = facts.accounts.find((account) => account.uid === dataOwner.uid);
    return {
      kind: "run",
      as: { kind: "account", account: owner ?? { name: String(dataOwner.uid), ...dataOwner } },
    };
  }
  if (facts.namespaceWorks) return namespace;
  const account = borrowedAccount(facts.accounts);
  return account === undefined
    ? { kind: "refuse", reason: "no_account" }
    : { kind: "run", as: { kind: "account", account } };
}

function borrowedAccount(accounts: readonly Account[]): Account | undefined {
  return BORROWED.map((name) => accounts.find((account) => account.name === name)).find(
    (account) => account !== undefined && account.uid !== 0,
  );
}

/** Parses `/etc/passwd`. */
export function parseAccounts(passwd: string): Account[] {
  const accounts: Account[] = [];
  for (const line of passwd.split("\n")) {
    const [name, , uid, gid] = line.split(":");
    if (name === undefined || name === "" || uid === undefined || gid === undefined) continue;
    accounts.push({ name, uid: Number(uid), gid: Number(gid) });
  }
  return accounts;
}

/** The machine's local accounts; none where there is no such file. */
export async function readAccounts(): Promise<Account[]> {
  return parseAccounts(await readFile("/etc/passwd", "utf8").catch(() => ""));
}

/** Whether our uid has a name on this machine. */
export function hasUserName(): boolean {
  try {
    return userInfo().username !== "";
  } catch {
    return false; // Node throws when there is no entry for the uid.
  }
}

/** A command as it must be spawned to run as somebody. */
export interface WrappedCommand {
  readonly command: string;
  readonly args: readonly string[];
  readonly uid?: number;
  readonly gid?: number;
}

/** Wraps a command so that it runs as decided. `unshare` replaces itself: the pid stays the same. */
export function wrapCommand(as: RunAs, command: string, args: readonly string[]): WrappedCommand {
  switch (as.kind) {
    case "direct":
      return { command, args };
    case "namespace":
      return { command: "unshare", args: ["--user", `--map-user=${as.uid}`, command, ...args] };
    case "account":
      return { command, args, uid: as.account.uid, gid: as.account.gid };
    default:
      return assertNever(as);
  }
}

const SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Postgres sees nothing of our environment: no PG… variable, no locale, no secret. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  if (process.platform === "win32") {
    return Object.fromEntries(
      Object.entries(process.env).filter(([name]) => !name.toUpperCase().startsWith("PG")),
    );
  }
  return { PATH: SYSTEM_PATH, LC_ALL: "C", TZ: "UTC" };
}

/** What a program that ran to its end gave. `exitCode` is null when it was killed or never began. */
export interface RunResult {
  readonly exitCode: number | null;
  readonly output: string;
}

const MAX_OUTPUT_BYTES = 256 * 1024;

/** Runs a program to its end as somebody. Never throws: a program that cannot be started failed. */
export async function runToEnd(
  as: RunAs,
  command: string,
  args: readonly string[],
  timeoutMs: number,
): Promise<RunResult> {
  const wrapped = wrapCommand(as, command, args);
  return await new Promise((resolve) => {
    execFile(
      wrapped.command,
      [...wrapped.args],
      {
        cwd: "/",
        env: cleanEnvironment(),
        timeout: timeoutMs,
        maxBuffer: MAX_OUTPUT_BYTES,
        windowsHide: true,
        ...(wrapped.uid === undefined ? {} : { uid: wrapped.uid }),
        ...(wrapped.gid === undefined ? {} : { gid: wrapped.gid }),
      },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : error.code;
        resolve({
          exitCode: typeof code === "number" ? code : null,
          output: `${stdout}${stderr}${typeof code === "string" ? (error?.message ?? "") : ""}`,
        });
      },
    );
  });
}

/** Starts a program that outlives us, writing to an open file. */
export function spawnDetached(
  as: RunAs,
  command: string,
  args: readonly string[],
  outputFd: number,
): ChildProcess {
  const wrapped = wrapCommand(as, command, args);
  const child = spawn(wrapped.command, [...wrapped.args], {
    cwd: "/",
    env: cleanEnvironment(),
    detached: true,
    windowsHide: true,
    stdio: ["ignore", outputFd, outputFd],
    ...(wrapped.uid === undefined ? {} : { uid: wrapped.uid }),
    ...(wrapped.gid === undefined ? {} : { gid: wrapped.gid }),
  });
  child.unref();
  return child;
}
