// `npm run tidy`: what neither the compiler nor the linter holds. Prints every finding, exits 1 on any.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";

const root = new URL("..", import.meta.url).pathname;
const findings = [];
const find = (file, what) => findings.push(`${file}: ${what}`);

const tracked = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], {
  cwd: root,
  encoding: "utf8",
})
  .split("\n")
  .filter((file) => file !== "" && existsSync(join(root, file)));
const read = (file) => readFileSync(join(root, file), "utf8");
const isTest = (file) => /\.test\.ts$|\/conformance\/|^test\/|^bench\//.test(file);
const sources = tracked.filter((file) => /^packages\/[^/]+\/src\/.*\.ts$/.test(file));

// 1. Features of the control plane: imports run one way, and only to `model` and `service`.
const LEVELS = {
  platform: 0,
  access: 0.5,
  files: 1,
  machines: 2,
  profiles: 2.5,
  jobs: 3,
  scheduler: 4,
  recovery: 4,
  fleet: 4,
  batches: 5,
  experiments: 5,
  sla: 6,
  webhooks: 6,
  alerts: 6,
  gateway: 6,
  page: 6,
};
const FEATURE = /^packages\/control-plane\/src\/([^/]+)\//;
// Within a feature: a role may import the roles before it. What is named otherwise is `logic`.
const ROLE_RANK = { model: 0, logic: 1, store: 1, service: 2, loop: 3, routes: 3, composition: 4 };
const roleOf = (file) => {
  const name = file.replace(/^.*\//, "").replace(/\.ts$/, "");
  if (name in ROLE_RANK) return name;
  // `scheduler/scheduler.ts` puts the feature together.
  if (name === FEATURE.exec(file)?.[1]) return "composition";
  for (const role of ["store", "service", "loop", "routes", "model"]) {
    if (name.endsWith(`-${role}`)) return role;
  }
  return "logic";
};
const importsOf = (text) =>
  [...text.matchAll(/(?:^|\n)\s*(?:import|export)\s[^;]*?from\s+"([^"]+)"/g)].map((m) => m[1]);

for (const file of sources.filter((one) => FEATURE.test(one) && !isTest(one))) {
  const feature = FEATURE.exec(file)[1];
  if (!(feature in LEVELS)) {
    find(file, `feature ${feature} has no place in the order of features (scripts/tidy.mjs)`);
    continue;
  }
  for (const target of importsOf(read(file))) {
    if (!target.startsWith(".")) continue;
    const to = normalize(join(dirname(file), target));
    const other = FEATURE.exec(to)?.[1];
    if (other === undefined) {
      find(file, `imports ${to}: a feature does not import the composition root`);
      continue;
    }
    if (other === feature) {
      if (feature === "platform") continue;
      const [mine, its] = [roleOf(file), roleOf(to)];
      if (ROLE_RANK[its] > ROLE_RANK[mine] && its !== "service") {
        find(file, `a ${mine} imports a ${its}: ${to}`);
      }
      continue;
    }
    if (LEVELS[other] === undefined || LEVELS[other] >= LEVELS[feature]) {
      find(file, `${feature} may not import ${other}: ${to}`);
    } else if (other !== "platform" && ["store", "routes", "loop"].includes(roleOf(to))) {
      find(file, `imports the ${roleOf(to)} of another feature: ${to}`);
    }
  }
}

// 2. Rooms a stranger finds: sizes and names.
const FILE_LINES_MAX = 500;
for (const file of [...sources, ...tracked.filter((one) => /^(test|bench)\/.*\.ts$/.test(one))]) {
  const lines = read(file).split("\n").length;
  if (lines > FILE_LINES_MAX && !isTest(file))
    find(file, `${lines} lines (at most ${FILE_LINES_MAX})`);
  if (/(^|\/)(utils?|common|helpers?|types|misc)\.ts$/.test(file)) find(file, "name the thing");
  if (/[A-Z]/.test(file.split("/").at(-1))) find(file, "file names are kebab-case");
}

// 3. Nothing is left open in the code, and nothing points out of the project.
for (const file of tracked.filter((one) => /\.(ts|tsx|mjs|js|sql|css|py|sh)$|^\.ci\//.test(one))) {
  if (file === "scripts/tidy.mjs") continue;
  for (const [index, line] of read(file).split("\n").entries()) {
    const at = `${file}:${index + 1}`;
    if (/\b(TODO|FIXME|XXX|HACK)\b|\/[/*].*not implemented/.test(line)) {
      find(at, "left open");
    }
    if (/(\.\.\/)+shared\/|\/work\/|\/tmp\/lab/.test(line)) find(at, "points out of the project");
    if (/\b(it|test|describe)\.only\(/.test(line)) find(at, "a test shuts the others out");
  }
}

// 4. Codes and settings are documented.
const errorsDoc = existsSync(join(root, "docs/errors.md")) ? read("docs/errors.md") : "";
for (const [, code] of read("packages/contract/src/errors.ts").matchAll(/^ {2}([a-z_]+): \{/gm)) {
  if (!errorsDoc.includes(`\`${code}\``)) find("docs/errors.md", `error code ${code} is missing`);
}
const configurationDoc = existsSync(join(root, "docs/configuration.md"))
  ? read("docs/configuration.md")
  : "";
const settings = new Set();
for (const file of sources.filter((one) => !isTest(one))) {
  for (const [, name] of read(file).matchAll(/env: "([A-Z][A-Z0-9_]+)"/g)) settings.add(name);
}
for (const name of settings) {
  if (!configurationDoc.includes(name)) find("docs/configuration.md", `setting ${name} is missing`);
}

// 5. Dependencies are explained.
const dependenciesDoc = existsSync(join(root, "docs/dependencies.md"))
  ? read("docs/dependencies.md")
  : "";
for (const file of tracked.filter((one) => /^packages\/[^/]+\/package\.json$/.test(one))) {
  for (const name of Object.keys(JSON.parse(read(file)).dependencies ?? {})) {
    if (name.startsWith("@holdfast/")) continue;
    if (!dependenciesDoc.includes(name)) find("docs/dependencies.md", `${name} is not explained`);
  }
}

// 6. Dead exports and unused dependencies.
const knip = spawnSync(
  process.execPath,
  [join(root, "node_modules/knip/bin/knip.js"), "--no-progress", "--no-config-hints"],
  {
    cwd: root,
    encoding: "utf8",
  },
);
if (knip.status !== 0) {
  find("knip", `\n${knip.stdout}${knip.stderr}`.trimEnd());
}

for (const line of findings) console.error(line.replace(root, ""));
console.log(findings.length === 0 ? "tidy" : `${findings.length} findings`);
process.exitCode = findings.length === 0 ? 0 : 1;
