/** Git repositories on loopback: made from files, served by `git daemon`, changed and broken by tests. */
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { cpSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { basename, dirname, join } from "node:path";
import { freePort, until } from "../../support/processes.ts";

/** Of a repository's files: text or bytes, null for one that goes away. */
export type RepositoryFiles = Readonly<Record<string, string | Buffer | null>>;

/** A commit to make. */
export interface NewCommit {
  readonly files: RepositoryFiles;
  readonly message?: string;
  readonly tag?: string;
  /** Branch it is made on; made from `main` when there is none of that name. Default `main`. */
  readonly branch?: string;
}

/** A repository that is served. */
export interface ServedRepository {
  readonly name: string;
  /** `git://…`; nobody answers there while the server is stopped. */
  readonly url: string;
  /** The bare repository on the disk, which can be cloned by its path too. */
  readonly path: string;
  /** Commits on top, and returns the commit's hash. */
  commit(commit: NewCommit): string;
  /** Hash of a branch or tag. */
  resolve(ref: string): string;
  /** Text of a file at the tip of `main`. */
  read(file: string): string;
}

/** A running git server. */
export interface GitServer {
  /** Makes a repository from a folder or files, or both; its first commit is on `main`. */
  makeRepository(
    name: string,
    parts: { readonly folder?: string; readonly files?: RepositoryFiles; readonly tag?: string },
  ): ServedRepository;
  /** Nobody answers any more. */
  stop(): Promise<void>;
  /** Serves again, on the same port. */
  start(): Promise<void>;
  close(): Promise<void>;
}

/** What a run of a program leaves in a folder, and no repository holds. */
const LEFT_OUT = new Set(["__pycache__", ".git", "temp", "user"]);

const GIT_ENVIRONMENT = {
  PATH: process.env["PATH"] ?? "",
  HOME: "/nonexistent",
  GIT_CONFIG_GLOBAL: "/dev/null",
  GIT_CONFIG_NOSYSTEM: "1",
  GIT_TERMINAL_PROMPT: "0",
  GIT_AUTHOR_NAME: "A test",
  GIT_AUTHOR_EMAIL: "test@example.invalid",
  GIT_COMMITTER_NAME: "A test",
  GIT_COMMITTER_EMAIL: "test@example.invalid",
};

function git(cwd: string, ...args: readonly string[]): string {
  return execFileSync("git", args, {
    cwd,
    env: GIT_ENVIRONMENT,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 60_000,
  }).trim();
}

/** Starts one that keeps its repositories in `root`, an existing folder. */
export async function startGitServer(root: string): Promise<GitServer> {
  const bare = join(root, "bare");
  mkdirSync(bare, { recursive: true });
  const port = await freePort();
  let daemon: ChildProcess | undefined;
  const server: GitServer = {
    makeRepository: (name, parts) => makeRepository(root, `git://127.0.0.1:${port}`, name, parts),
    async start() {
      if (daemon !== undefined) return;
      daemon = spawn(
        "git",
        [
          "daemon",
          "--listen=127.0.0.1",
          `--port=${port}`,
          "--reuseaddr",
          "--export-all",
          `--base-path=${bare}`,
          bare,
        ],
        // A group of its own: git runs the daemon as a child of its own.
        { env: GIT_ENVIRONMENT, stdio: "ignore", detached: true },
      );
      await until("git daemon listens", () => accepts(port), 20_000);
    },
    async stop() {
      const ended = daemon;
      daemon = undefined;
      if (ended?.pid === undefined || ended.exitCode !== null) return;
      const gone = new Promise((resolve) => ended.once("exit", resolve));
      process.kill(-ended.pid, "SIGKILL");
      await gone;
      await until("git daemon is gone", async () => !(await accepts(port)), 20_000);
    },
    close: () => server.stop(),
  };
  await server.start();
  return server;
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    const end = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.once("connect", () => end(true));
    socket.once("error", () => end(false));
  });
}

function makeRepository(
  root: string,
  baseUrl: string,
  name: string,
  parts: { readonly folder?: string; readonly files?: RepositoryFiles; readonly tag?: string },
): ServedRepository {
  const path = join(root, "bare", `${name}.git`);
  const work = join(root, "work", name);
  mkdirSync(work, { recursive: true });
  mkdirSync(path);
  git(path, "init", "--quiet", "--bare", "--initial-branch=main");
  // As the large hosts have it: any commit can be asked for, and parts can be left out.
  git(path, "config", "uploadpack.allowAnySHA1InWant", "true");
  git(path, "config", "uploadpack.allowFilter", "true");
  git(work, "init", "--quiet", "--initial-branch=main");
  if (parts.folder !== undefined) {
    const filter = (from: string): boolean => !LEFT_OUT.has(basename(from));
    cpSync(parts.folder, work, { recursive: true, filter });
  }
  const repository: ServedRepository = {
    name,
    url: `${baseUrl}/${name}.git`,
    path,
    commit: (commit) => addCommit(work, path, commit),
    resolve: (ref) => git(path, "rev-parse", `${ref}^{commit}`),
    read: (file) => git(path, "show", `main:${file}`) + "\n",
  };
  const { tag } = parts;
  repository.commit({
    files: parts.files ?? {},
    message: "Begin",
    ...(tag !== undefined && { tag }),
  });
  return repository;
}

function addCommit(work: string, bare: string, commit: NewCommit): string {
  const branch = commit.branch ?? "main";
  const isThere = git(work, "branch", "--list", branch) !== "";
  if (branch !== "main" || isThere) {
    git(work, "checkout", "--quiet", ...(isThere ? [branch] : ["-b", branch, "main"]));
  }
  for (const [file, content] of Object.entries(commit.files)) {
    const target = join(work, file);
    if (content === null) {
      rmSync(target, { recursive: true, force: true });
      continue;
    }
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, content);
  }
  git(work, "add", "--all", "--force");
  git(work, "commit", "--quiet", "--allow-empty", "-m", commit.message ?? "Change something");
  if (commit.tag !== undefined) git(work, "tag", commit.tag);
  git(work, "push", "--quiet", bare, branch, "--tags");
  return git(work, "rev-parse", "HEAD");
}
