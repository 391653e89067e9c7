/** What can be held of the containers without an engine, a cluster or a linter: see test/parts for those. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { readManifest } from "../packages/machine/src/manifest/read-manifest.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const read = (path: string): string => readFileSync(join(ROOT, path), "utf8");
const VERSION = (JSON.parse(read("package.json")) as { version: string }).version;

type Tree = Readonly<Record<string, unknown>>;
interface Service {
  readonly image: string;
  readonly environment?: Readonly<Record<string, string>>;
  readonly ports?: readonly string[];
  readonly volumes?: readonly (string | Tree)[];
  readonly healthcheck?: { readonly test?: readonly string[]; readonly disable?: boolean };
  readonly restart?: string;
  readonly stop_grace_period?: string;
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
}
interface Container extends Tree {
  readonly name: string;
  readonly image: string;
  readonly env?: readonly { readonly name: string }[];
}
interface KubeDocument extends Tree {
  readonly kind: string;
  readonly metadata: { readonly name: string };
}

const composeText = read("infra/compose.yaml");
const compose = parse(composeText, { merge: true }) as {
  readonly services: Readonly<Record<string, Service>>;
  readonly networks: Readonly<Record<string, unknown>>;
  readonly volumes: Readonly<Record<string, unknown>>;
};
const service = (name: string): Service => {
  const found = compose.services[name];
  if (found === undefined) throw new Error(`compose.yaml has no service ${name}`);
  return found;
};
const DOCKERFILES = ["control-plane", "machine"].map(
  (name) => [name, read(`infra/docker/${name}.Dockerfile`)] as const,
);
const MANIFESTS = readdirSync(join(ROOT, "infra/kubernetes"), { recursive: true, encoding: "utf8" })
  .filter((path) => path.endsWith(".yaml") && !path.endsWith("kustomization.yaml"))
  .map((path) => `infra/kubernetes/${path}`);
const objects = MANIFESTS.flatMap((path) =>
  parseAllDocuments(read(path)).map((document) => {
    if (document.errors.length > 0) throw new Error(`${path}: ${String(document.errors[0])}`);
    return { path, object: document.toJS() as KubeDocument };
  }),
);
/** Every pod of the manifests; a patch of an overlay is none, for it names no image. */
const pods = objects.flatMap(({ path, object }) => {
  const spec = (object as { spec?: { template?: { spec?: Tree } } }).spec?.template?.spec;
  const containers = (spec?.["containers"] ?? []) as readonly Container[];
  return spec !== undefined && containers.every(({ image }) => image !== undefined)
    ? containers.length > 0
      ? [{ path, kind: object.kind, name: object.metadata.name, spec, containers }]
      : []
    : [];
});
const machineYaml = readManifest(read("infra/docker/machine.yaml"));

/** Names of every setting, as they are documented; documents are generated from the settings. */
const SETTINGS = new Set(
  [...read("docs/configuration.md").matchAll(/^\| `([A-Z0-9_]+)`[^|]*\| ([^|]*)\|/gm)].flatMap(
    ([, name = "", type = ""]) => (type.trim() === "secret" ? [name, `${name}_FILE`] : [name]),
  ),
);
/** What is none of Holdfast's settings, and meant for others. */
const FOREIGN = /^(?:NODE_ENV|HOME|(?:POSTGRES|MINIO)_[A-Z_]+)$/;
const images = [
  ...Object.values(compose.services).map(({ image }) => image),
  ...pods.flatMap(({ containers }) => containers.map(({ image }) => image)),
  ...DOCKERFILES.flatMap(([, text]) =>
    [...text.matchAll(/^FROM (\S+)/gm)].map(([, image = ""]) => image),
  ),
];

describe("images", () => {
  it.each([...new Set(images)])("%s is pinned to a version", (image) => {
    expect(image).toMatch(/^[a-z0-9./-]+:[A-Za-z0-9][\w.-]*\d[\w.-]*$/);
    expect(image).not.toContain("latest");
    if (image.startsWith("holdfast/")) expect(image).toMatch(new RegExp(`:${VERSION}$`));
  });

  it.each(DOCKERFILES)("%s runs as nobody in particular, and says how it is", (_name, text) => {
    const last = text.slice(text.lastIndexOf("\nFROM "));
    expect(last).toMatch(/^USER 10001:10001$/m);
    expect(last).toMatch(/^HEALTHCHECK .*\\\n {2}CMD \["node", "\S*health\.mjs", "\S+"\]$/m);
    expect(last).toMatch(/^ENTRYPOINT \[.*"\S*packages\/cli\/bin\/holdfast\.js"\]$/m);
    expect(text).not.toMatch(/\bcurl\b|\bADD\b/);
  });

  it("the machine's base is one that driver 535 starts, with the ports of ComfyUI and the agent", () => {
    const [, text] = DOCKERFILES[1]!;
    expect(text).toMatch(/^FROM nvidia\/cuda:12\.[0-2]\.\d-runtime-ubuntu22\.04$/m);
    expect(text).toMatch(/^EXPOSE 8188 8189 9090$/m);
    expect(text).toContain("machine install");
  });

  it.each(DOCKERFILES)("%s names only settings that there are", (_name, text) => {
    const env = /^ENV ((?:.*\\\n)*.*)$/gm;
    const names = [...text.matchAll(env)].flatMap(([, block = ""]) =>
      [...block.matchAll(/([A-Z][A-Z0-9_]*)=/g)].map(([, name = ""]) => name),
    );
    expect(names.length).toBeGreaterThan(0);
    expect(names.filter((name) => !SETTINGS.has(name) && !FOREIGN.test(name))).toEqual([]);
  });
});

describe("the manifest that is baked", () => {
  it("is a good one, with what an image needs", () => {
    if (machineYaml.kind !== "ok") throw new Error(JSON.stringify(machineYaml));
    const { modelFolders, torch, instances, models } = machineYaml.manifest;
    expect(modelFolders.root).toBe("/opt/comfyui/models");
    // Fetching into a folder that is only read would fail.
    expect(models).toEqual([]);
    // No card can be asked where an image is built.
    expect(torch.backend).not.toBe("auto");
    expect(instances).toMatchObject({ basePort: 8188, gpus: "all", host: "0.0.0.0" });
  });
});

describe("compose.yaml", () => {
  it("has no default for what is secret", () => {
    for (const name of ["POSTGRES_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY"]) {
      const uses = [...composeText.matchAll(new RegExp(`\\$\\{${name}([^}]*)\\}`, "g"))];
      expect(uses.length).toBeGreaterThan(0);
      for (const [, rest = ""] of uses) expect(rest).toMatch(/^:\?./);
    }
    const example = read("infra/compose.env.example");
    const asked = [...composeText.matchAll(/\$\{([A-Z0-9_]+)/g)].map(([, name = ""]) => name);
    for (const name of [...asked, "HOLDFAST_HEALTH_TOKEN"]) {
      expect(example).toMatch(new RegExp(`^${name}=`, "m"));
    }
    expect(example).toMatch(/^POSTGRES_PASSWORD=$/m);
    expect(example).toMatch(/^S3_SECRET_KEY=$/m);
  });

  it.each(Object.keys(compose.services))("%s: health, restarts and waits", (name) => {
    const {
      healthcheck,
      restart,
      depends_on: waits = {},
      ports = [],
      environment = {},
    } = service(name);
    expect(restart).toBeDefined();
    if (healthcheck?.disable !== true) {
      expect(healthcheck).toMatchObject({
        test: expect.arrayContaining(["CMD"]) as unknown,
        start_period: expect.any(String) as unknown,
        timeout: expect.any(String) as unknown,
      });
    }
    for (const [other, { condition }] of Object.entries(waits)) {
      const isOnce = service(other).healthcheck?.disable === true;
      expect(condition).toBe(isOnce ? "service_completed_successfully" : "service_healthy");
    }
    // Docker opens a port without an address to everybody, past the host's firewall.
    for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:\d+:\d+$/);
    const unknown = Object.keys(environment).filter(
      (variable) => !SETTINGS.has(variable) && !FOREIGN.test(variable),
    );
    expect(unknown).toEqual([]);
  });

  it("gives the machine its cards, its ports and models that are only read", () => {
    const machine = service("machine") as Service & Tree;
    expect(machine.ports).toEqual([8188, 8189, 9090].map((port) => `127.0.0.1:${port}:${port}`));
    expect(machine.volumes).toContainEqual(
      expect.objectContaining({ target: "/opt/comfyui/models", read_only: true }),
    );
    expect(machine["deploy"]).toMatchObject({
      resources: { reservations: { devices: [{ driver: "nvidia", capabilities: ["gpu"] }] } },
    });
  });

  it("stops as slowly as a drain takes", () => {
    expect(service("machine").stop_grace_period).toBe(`${drainSeconds()}s`);
  });
});

describe("the manifests for Kubernetes", () => {
  it("are there", () => {
    expect(pods.map(({ kind, name }) => `${kind}/${name}`).toSorted()).toEqual([
      "Deployment/holdfast-control-plane",
      "Job/holdfast-first-key",
      "StatefulSet/holdfast-machine",
      "StatefulSet/holdfast-postgres",
    ]);
  });

  it.each(pods)("$kind $name is confined", ({ kind, spec, containers }) => {
    expect(spec).toMatchObject({
      // A Service named `holdfast` would set HOLDFAST_PORT to an address.
      enableServiceLinks: false,
      securityContext: { runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } },
    });
    for (const container of containers) {
      expect(container).toMatchObject({
        imagePullPolicy: "IfNotPresent",
        securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
        resources: { requests: { cpu: expect.anything(), memory: expect.anything() } },
      });
      if (kind === "Job") continue;
      for (const probe of ["startupProbe", "livenessProbe", "readinessProbe"]) {
        expect([container.name, probe, container[probe]]).toEqual([
          container.name,
          probe,
          expect.objectContaining({ timeoutSeconds: expect.any(Number) as unknown }),
        ]);
      }
      const names = (container.env ?? []).map(({ name }) => name);
      expect(names.filter((name) => !SETTINGS.has(name) && !FOREIGN.test(name))).toEqual([]);
    }
  });

  it("set only settings that there are, by ConfigMap and by the example of secrets too", () => {
    const literals = MANIFESTS.map((path) => path.replace(/[^/]+$/, "kustomization.yaml"))
      .map((path) => parse(read(path)) as { configMapGenerator?: { literals?: string[] }[] })
      .flatMap(({ configMapGenerator = [] }) => configMapGenerator)
      .flatMap(({ literals: all = [] }) => all);
    const secrets = read("infra/kubernetes/secrets.env.example").split("\n");
    const names = [...literals, ...secrets]
      .filter((line) => /^[A-Z]/.test(line))
      .map((line) => line.split("=")[0] ?? "");
    expect(names).toContain("DATABASE_URL");
    expect(names.filter((name) => !SETTINGS.has(name))).toEqual([]);
  });

  it("probe paths that are served", () => {
    const served = new Set([
      ...servedBy("packages/control-plane/src/server.ts"),
      ...servedBy("packages/machine/src/health-server/routes.ts"),
    ]);
    const probes = MANIFESTS.map(read).join("\n");
    const asked = [
      ...probes.matchAll(/httpGet: \{ path: "?([^",]+)/g),
      ...read("infra/docker/health.mjs").matchAll(/\}(\/[a-z]+)/g),
    ].map(([, path = ""]) => path.replace(/\?.*/, ""));
    expect(asked).toContain("/readyz");
    expect(asked).toContain("/health");
    expect(asked.filter((path) => !served.has(path))).toEqual([]);
  });

  it("give one machine one card, models that are only read, and the time a drain takes", () => {
    const machine = pods.find(({ name }) => name === "holdfast-machine");
    expect(machine?.spec).toMatchObject({ terminationGracePeriodSeconds: drainSeconds() });
    expect(machine?.containers[0]).toMatchObject({
      ports: [{ containerPort: 8188 }, { containerPort: 8189 }, { containerPort: 9090 }],
      resources: { limits: { "nvidia.com/gpu": 1 } },
      volumeMounts: expect.arrayContaining([
        { name: "models", mountPath: "/opt/comfyui/models", readOnly: true },
      ]) as unknown,
    });
  });

  it("give the control plane the rights of the documents, and no others", () => {
    const role = objects.find(({ object }) => object.kind === "Role")?.object;
    const document = /```yaml\n(apiVersion: rbac[^`]+)```/.exec(read("docs/fleet-yaml.md"))?.[1];
    expect(role?.["rules"]).toEqual((parse(document ?? "") as KubeDocument)["rules"]);
  });
});

/** What systemd's unit of docs/operations.md adds up: drain, stop, and 80 s for the rest. */
function drainSeconds(): number {
  if (machineYaml.kind !== "ok") throw new Error(JSON.stringify(machineYaml));
  const { drainSec, stopTimeoutSec } = machineYaml.manifest.instances;
  return drainSec + stopTimeoutSec + 80;
}

function servedBy(path: string): readonly string[] {
  return [...read(path).matchAll(/"(\/[a-z]+)"/g)].map(([, route = ""]) => route);
}
