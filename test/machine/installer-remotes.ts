/** The installer's "internet": git repositories, a folder of wheels and a small ComfyUI. */
import { execFile } from "node:child_process";
import { createReadStream } from "node:fs";
import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { strToU8, zipSync } from "fflate";

const run = promisify(execFile);

/** Files by path; null removes one. */
export type Files = Readonly<Record<string, string | null>>;

/** A repository that can be cloned. */
export interface TestRepository {
  readonly folder: string;
  readonly url: string;
  /** Commits these changes on the current branch; answers the commit. */
  commit(files: Files, message?: string): Promise<string>;
  git(...args: string[]): Promise<string>;
}

/** Makes a repository with one commit on `main`. */
export async function makeRepository(folder: string, files: Files): Promise<TestRepository> {
  await mkdir(folder, { recursive: true });
  const git = async (...args: string[]): Promise<string> => {
    const identity = ["-c", "user.name=Test", "-c", "user.email=test@example.invalid"];
    const { stdout } = await run("git", [...identity, ...args], { cwd: folder });
    return stdout.trim();
  };
  await git("init", "--quiet", "--initial-branch=main");
  const repository: TestRepository = {
    folder,
    url: `file://${folder}`,
    git,
    async commit(changes, message = "Change") {
      for (const [path, text] of Object.entries(changes)) {
        const file = join(folder, path);
        if (text === null) await rm(file, { force: true });
        else {
          await mkdir(dirname(file), { recursive: true });
          await writeFile(file, text);
        }
      }
      await git("add", "--all");
      await git("commit", "--quiet", "--allow-empty", "--message", message);
      return await git("rev-parse", "HEAD");
    },
  };
  await repository.commit(files, "Begin");
  return repository;
}

/** Puts a wheel of one pure-Python module into a folder. */
export async function makeWheel(
  folder: string,
  name: string,
  version: string,
  requires: readonly string[] = [],
): Promise<void> {
  const info = `${name}-${version}.dist-info`;
  const metadata = [
    "Metadata-Version: 2.1",
    `Name: ${name}`,
    `Version: ${version}`,
    ...requires.map((requirement) => `Requires-Dist: ${requirement}`),
    "",
  ].join("\n");
  const files = {
    [`${name}.py`]: `version = ${JSON.stringify(version)}\n`,
    [`${info}/METADATA`]: metadata,
    [`${info}/WHEEL`]:
      "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
  };
  const record = [...Object.keys(files), `${info}/RECORD`].map((path) => `${path},,`).join("\n");
  const zip = zipSync(
    Object.fromEntries(
      Object.entries({ ...files, [`${info}/RECORD`]: `${record}\n` }).map(([path, text]) => [
        path,
        strToU8(text),
      ]),
    ),
  );
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, `${name}-${version}-py3-none-any.whl`), zip);
}

/** Serves a folder of wheels as a package index on loopback. */
export async function serveIndex(folder: string): Promise<{ url: string; close(): Promise<void> }> {
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url ?? "");
    if (path.endsWith(".whl")) {
      createReadStream(join(folder, path.split("/").at(-1) ?? "")).pipe(response);
      return;
    }
    const project = path.split("/").at(-2) ?? "";
    void readdir(folder).then((names) => {
      const files = names.filter((name) => name.startsWith(`${project}-`));
      const links = files.map((name) => `<a href="${encodeURIComponent(name)}">${name}</a>`);
      response.writeHead(files.length === 0 ? 404 : 200, { "content-type": "text/html" });
      response.end(`<!DOCTYPE html><html><body>${links.join("\n")}</body></html>`);
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/simple`,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

/** A ComfyUI of one file: imports custom nodes as the real one does, and answers `/object_info`. */
export const MAIN_PY = `
import argparse, http.server, importlib.util, json, os, sys, time
parser = argparse.ArgumentParser()
parser.add_argument("--quick-test-for-ci", action="store_true")
parser.add_argument("--cpu", action="store_true")
parser.add_argument("--listen", default="127.0.0.1")
parser.add_argument("--port", type=int, default=8188)
for name in ("input", "output", "temp", "user"):
    parser.add_argument(f"--{name}-directory", required=True)
args = parser.parse_args()
import engine
here = os.path.dirname(os.path.realpath(__file__))
folder = os.path.join(here, "custom_nodes")
classes = {"EmptyImage": "nodes", "SaveImage": "nodes"}
times = []
for name in os.listdir(folder):
    path = os.path.join(folder, name)
    if not os.path.isdir(path) or name.endswith(".disabled"):
        continue
    began, ok = time.perf_counter(), False
    try:
        spec = importlib.util.spec_from_file_location(name, os.path.join(path, "__init__.py"))
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        classes.update({key: f"custom_nodes.{name}" for key in module.NODE_CLASS_MAPPINGS})
        ok = True
    except Exception as error:
        print(f"Cannot import {path} module for custom nodes: {error}", file=sys.stderr)
    times.append((time.perf_counter() - began, path, ok))
print("\\nImport times for custom nodes:", file=sys.stderr)
for seconds, path, ok in sorted(times):
    mark = "" if ok else " (IMPORT FAILED)"
    print("{:6.1f} seconds{}: {}".format(seconds, mark, path), file=sys.stderr)
if args.quick_test_for_ci:
    sys.exit(0)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({key: {"python_module": value} for key, value in classes.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *rest):
        pass
http.server.ThreadingHTTPServer((args.listen, args.port), Handler).serve_forever()
`;

/** A pack that brings these classes. */
export const packFiles = (classes: readonly string[], more: Files = {}): Files => ({
  "__init__.py": `NODE_CLASS_MAPPINGS = {${classes.map((name) => `"${name}": object`).join(", ")}}\n`,
  ...more,
});

/** Everything that a manifest of a test names. */
export interface Internet {
  readonly comfyui: TestRepository;
  readonly wheels: string;
  repository(name: string, files: Files): Promise<TestRepository>;
}

/** Makes an "internet" in a folder: ComfyUI needs the package `engine`, of which there are two. */
export async function makeInternet(folder: string): Promise<Internet> {
  const wheels = join(folder, "wheels");
  await makeWheel(wheels, "engine", "1.0.0", ["piston"]);
  await makeWheel(wheels, "engine", "2.0.0", ["piston"]);
  await makeWheel(wheels, "piston", "1.0.0");
  await makeWheel(wheels, "piston", "2.0.0");
  await makeWheel(wheels, "paint", "3.1.0");
  const repository = (name: string, files: Files): Promise<TestRepository> =>
    makeRepository(join(folder, "repositories", name), files);
  const comfyui = await repository("ComfyUI", {
    "main.py": MAIN_PY,
    "requirements.txt": "engine\n",
    "comfyui_version.py": '__version__ = "0.9.1"\n',
  });
  return { comfyui, wheels, repository };
}
